//! Sends any requests to the FUSE server over a directory of the host that can be
//! written.
//!
//! Errors are fine; panics and hangs are bugs. So is a reply whose header does not
//! tell its length or whose errno is out of range, a change of anything outside of
//! the directory, bytes from there in a reply, and a node or a file that is still
//! held when the next session begins.
//!
//! Input: requests one behind the other: how to make it, opcode, node, caller,
//! number of parts, and those (`part`).
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use fuse_backend_rs::abi::fuse_abi::{FsOptions, Opcode};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tidegate::destination::Destination;
use tidegate::fs::passthrough::{Options, PassthroughFs};
use tidegate::fuse::{Outcome, REPLY_HEADER_LEN, Server};
use tidegate_fuzz::input::Input;

const HEADER: usize = 40;

/// Most requests of one input.
const REQUESTS: usize = 64;

/// Room for replies.
const ROOM: usize = 16 << 10;

/// What no reply may hold.
const SECRET: &[u8] = b"what is outside of the directory";

/// Names that requests have; some lead out, or would if they were followed.
const NAMES: [&[u8]; 16] = [
    b"file",
    b"dir",
    b"new",
    b"other",
    b"out",
    b"up",
    b"root",
    b"deep",
    b"..",
    b".",
    b"../secret",
    b"dir/deep",
    b"/etc/passwd",
    b"",
    b"pipe",
    b"user.x",
];

/// The directory `served` and what is beside it.
struct Place {
    home: TempDir,
    outside: BTreeMap<PathBuf, (Vec<u8>, u32, u32, i64)>,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let home = tempfile::tempdir().unwrap();
    let beside = home.path().join("beside");
    fs::create_dir(&beside).unwrap();
    fs::write(home.path().join("secret"), SECRET).unwrap();
    fs::write(beside.join("secret"), SECRET).unwrap();
    fs::create_dir(beside.join("empty")).unwrap();
    let outside = state(home.path());
    Place { home, outside }
});

/// What there is in a directory, `served` left out: content, mode, owner, and when
/// it changed.
fn state(home: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32, u32, i64)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![home.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path == home.join("served") {
                continue;
            }
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_dir() {
                todo.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            found.insert(path, (content, meta.mode(), meta.uid(), meta.ctime()));
        }
    }
    found
}

/// The directory with one of everything, new.
fn served() -> PathBuf {
    let served = PLACE.home.path().join("served");
    if served.exists() {
        fs::remove_dir_all(&served).unwrap();
    }
    fs::create_dir_all(served.join("dir/deep")).unwrap();
    fs::set_permissions(&served, PermissionsExt::from_mode(0o777)).unwrap();
    fs::write(served.join("file"), [b'x'; 5000]).unwrap();
    fs::write(served.join("dir/file"), b"in it").unwrap();
    fs::hard_link(served.join("file"), served.join("dir/other")).unwrap();
    symlink("../secret", served.join("out")).unwrap();
    symlink("../beside", served.join("up")).unwrap();
    symlink("/", served.join("root")).unwrap();
    served
}

struct Session {
    fs: Arc<PassthroughFs>,
    server: Server,
    /// Node ids and handles that replies told.
    nodes: Vec<u64>,
    handles: Vec<u64>,
    sent: u64,
    buffer: Vec<u8>,
}

impl Session {
    fn new(options: Options) -> Self {
        let fs = Arc::new(PassthroughFs::new(&served(), options).unwrap());
        let mut session = Self {
            server: Server::new(fs.clone()),
            fs,
            nodes: vec![1],
            handles: vec![0],
            sent: 0,
            buffer: vec![0; ROOM],
        };
        session.begin();
        session
    }

    /// INIT, with everything on offer.
    fn begin(&mut self) {
        let all = FsOptions::all().bits() | 1 << 29 | 1 << 34;
        let mut body = Vec::new();
        for word in [7, 41, 0, all & 0xffff_ffff | 1 << 30, all >> 32] {
            body.extend(u32::try_from(word).unwrap().to_le_bytes());
        }
        body.resize(64, 0);
        let request = self.request(Opcode::Init as u32, 1, 0, 0, &body);
        self.send(&request);
    }

    fn pick(of: &[u64], index: u8) -> u64 {
        of[usize::from(index) % of.len()]
    }

    /// One part of a body.
    fn part(&self, input: &mut Input<'_>, body: &mut Vec<u8>) {
        match input.u8() {
            0 => body.extend(u32::from(input.u8()).to_le_bytes()),
            1 => body.extend(u32::from(input.u16()).to_le_bytes()),
            2 => body.extend(u64::from(input.u16()).to_le_bytes()),
            3 => body.extend(Self::pick(&self.handles, input.u8()).to_le_bytes()),
            4 => body.extend(Self::pick(&self.nodes, input.u8()).to_le_bytes()),
            5 => body.extend([0; 16]),
            6 => {
                let len = usize::from(input.u8());
                body.extend(input.bytes(len));
            }
            name => {
                body.extend(NAMES[usize::from(name) % NAMES.len()]);
                body.push(0);
            }
        }
    }

    /// The next request of the input.
    fn next(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        let (how, opcode, node, caller) = (input.u8(), input.u8(), input.u8(), input.u8());
        let mut body = Vec::new();
        for _ in 0..input.u8() % 16 {
            self.part(input, &mut body);
        }
        let node = match how & 0x40 {
            0 => Self::pick(&self.nodes, node),
            _ => u64::from(node),
        };
        self.request(u32::from(opcode), node, caller, how & 0x3, &body)
    }

    fn request(&mut self, opcode: u32, node: u64, caller: u8, units: u8, body: &[u8]) -> Vec<u8> {
        self.sent += 1;
        let len = u32::try_from(HEADER + body.len()).unwrap();
        let caller = u32::from(caller & 0x3) * 1000;
        let mut request = len.to_le_bytes().to_vec();
        request.extend(opcode.to_le_bytes());
        request.extend(self.sent.to_le_bytes());
        request.extend(node.to_le_bytes());
        for word in [caller, caller, 0, units.into()] {
            request.extend(word.to_le_bytes());
        }
        request.extend(body);
        bound(opcode, &mut request);
        request
    }

    fn send(&mut self, request: &[u8]) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self
            .server
            .handle(request, &mut Destination::from_slices([&mut buffer[..]]));
        let len = match outcome {
            Outcome::Done(len) => len,
            Outcome::NoReply => 0,
            Outcome::Pending(pending) => {
                let runtime = tidegate::runtime::handle().unwrap();
                let result = runtime.block_on(pending.read);
                let mut out = Destination::from_slices([&mut buffer[..]]);
                pending.reply.finish(result, &mut out)
            }
        };
        if len > 0 {
            self.check(request, &buffer[..len]);
        }
        self.buffer = buffer;
    }

    fn check(&mut self, request: &[u8], reply: &[u8]) {
        assert!(reply.len() >= REPLY_HEADER_LEN);
        assert_eq!(usize::try_from(word(reply, 0)), Ok(reply.len()));
        let error = word(reply, 4).cast_signed();
        assert!((-4095..=0).contains(&error));
        assert_eq!(reply[8..16], request[8..16]);
        let data = &reply[REPLY_HEADER_LEN..];
        assert!(
            !data.windows(SECRET.len()).any(|bytes| bytes == SECRET),
            "bytes from outside"
        );
        if error != 0 {
            return;
        }
        let told = |at: usize| {
            let bytes = data.get(at..at + 8).unwrap();
            u64::from_le_bytes(bytes.try_into().unwrap())
        };
        let opcode = word(request, 4);
        match opcode {
            1 | 6 | 8 | 9 | 13 => self.nodes.push(told(0).max(1)),
            14 | 27 => self.handles.push(told(0)),
            35 | 51 => {
                self.nodes.push(told(0));
                self.handles.push(told(128));
            }
            44 if data.len() >= 8 => self.nodes.push(told(0).max(1)),
            _ => {}
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Keeps a request from filling the machine's memory: offsets, lengths and sizes
/// stay below 1 MiB.
fn bound(opcode: u32, request: &mut [u8]) {
    let fields: &[usize] = match opcode {
        // SETATTR: size. WRITE: offset. FALLOCATE: offset, length.
        4 => &[16],
        16 => &[8],
        43 => &[8, 16],
        // COPY_FILE_RANGE: offsets, length.
        47 => &[8, 32, 40],
        _ => return,
    };
    for field in fields {
        let at = HEADER + field;
        if let Some(bytes) = request.get_mut(at + 2..at + 8) {
            bytes[0] &= 0xf;
            bytes[1..].fill(0);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let bits = input.u8();
    let mut session = Session::new(Options {
        posix_acl: bits & 1 != 0,
        nameless: bits & 2 != 0,
        read_only: bits & 0xf0 == 0xf0,
        ..Options::default()
    });
    for _ in 0..REQUESTS {
        if input.is_empty() {
            break;
        }
        let request = session.next(&mut input);
        session.send(&request);
    }
    session.begin();
    assert_eq!((session.fs.held_nodes(), session.fs.open_handles()), (0, 0));
    assert!(state(PLACE.home.path()) == PLACE.outside, "changed outside");
});
