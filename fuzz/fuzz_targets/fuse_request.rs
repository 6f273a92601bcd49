//! Sends any requests to the FUSE server over a real image.
//!
//! Errors are fine; panics, hangs and unbounded memory are bugs. So are a
//! reply that does not fit the room it was given, whose header does not tell
//! its length, an errno out of range, a `unique` that is not the request's, and
//! file data that is not the file's.
//!
//! Input: a byte whose low three bits, if they are 1, ask for an empty cache
//! (reads then have to wait); then requests one behind the other: how to make
//! it, room for the reply, length of what follows, and that.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use fuse_backend_rs::abi::fuse_abi::Opcode;
use libfuzzer_sys::fuzz_target;
use tidegate::destination::Destination;
use tidegate::fs::ImageFs;
use tidegate::fuse::{MAX_READ, Outcome, REPLY_HEADER_LEN, Server};
use tidegate::image::Image;
use tidegate::store::Store;
use tidegate_fuzz::bench::Bench;
use tidegate_fuzz::input::Input;

const HEADER: usize = 40;

/// Most requests of one input.
const REQUESTS: usize = 64;

/// What stands behind the room of a reply and must stay.
const MARK: u8 = 0xa5;

/// How many bytes of that are looked at.
const BEHIND: usize = 64;

struct Rig {
    bench: Bench,
    image: Arc<Image>,
    store: Arc<Store>,
    contents: BTreeMap<u64, Vec<u8>>,
}

static RIG: LazyLock<Rig> = LazyLock::new(|| {
    let bench = Bench::wide();
    let image = Arc::new(bench.built.open());
    let store = bench.store(&image).unwrap();
    Rig {
        contents: bench.contents(),
        bench,
        image,
        store,
    }
});

/// One session.
struct Session {
    server: Server,
    /// Node ids that replies told.
    nodes: Vec<u64>,
    sent: u64,
    /// Room for replies.
    buffer: Vec<u8>,
}

impl Session {
    fn new(cold: bool) -> Self {
        let store = if cold {
            RIG.bench.store(&RIG.image).unwrap()
        } else {
            Arc::clone(&RIG.store)
        };
        Self {
            server: Server::new(Arc::new(ImageFs::new(Arc::clone(&RIG.image), store))),
            nodes: vec![1],
            sent: 0,
            buffer: Vec::new(),
        }
    }

    /// The bytes of the next request: as they come, or with a header that is
    /// sound but for what the input says.
    fn request(&mut self, how: u8, mut rest: Input<'_>) -> Vec<u8> {
        if how == 0 {
            return rest.0.to_vec();
        }
        let (opcode, node) = (u32::from(rest.u8()), rest.u8());
        let node = match node {
            0xff => rest.u64(),
            index => self.nodes[usize::from(index) % self.nodes.len()],
        };
        self.sent += 1;
        let len = u32::try_from(HEADER + rest.0.len()).unwrap();
        let mut request = len.to_le_bytes().to_vec();
        request.extend(opcode.to_le_bytes());
        request.extend(self.sent.to_le_bytes());
        request.extend(node.to_le_bytes());
        request.extend([0; 16]);
        request.extend(rest.0);
        request
    }

    fn send(&mut self, request: &[u8], room: usize, parts: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(buffer.len().max(room + BEHIND), 0);
        let (reply, behind) = buffer.split_at_mut(room);
        let behind = &mut behind[..BEHIND];
        behind.fill(MARK);
        let cut = room.div_ceil(parts).max(1);
        let len = match self.server.handle(
            request,
            &mut Destination::from_slices(reply.chunks_mut(cut)),
        ) {
            Outcome::Done(len) => len,
            Outcome::NoReply => 0,
            Outcome::Pending(pending) => {
                let runtime = tidegate::runtime::handle().unwrap();
                let result = runtime.block_on(pending.read);
                pending
                    .reply
                    .finish(result, &mut Destination::from_slices(reply.chunks_mut(cut)))
            }
        };
        assert!(behind.iter().all(|&byte| byte == MARK));
        if len > 0 {
            self.check(request, &reply[..len]);
        }
        self.buffer = buffer;
    }

    fn check(&mut self, request: &[u8], reply: &[u8]) {
        assert!(reply.len() >= REPLY_HEADER_LEN);
        assert_eq!(usize::try_from(u32_at(reply, 0)), Ok(reply.len()));
        let error = u32_at(reply, 4).cast_signed();
        assert!((-4095..=0).contains(&error));
        assert_eq!(reply[8..16], request[8..16]);
        let data = &reply[REPLY_HEADER_LEN..];
        if error != 0 {
            assert!(data.is_empty());
            return;
        }
        let (opcode, node) = (u32_at(request, 4), u64_at(request, 16));
        if opcode == Opcode::Lookup as u32 {
            self.nodes.push(u64_at(data, 0).max(1));
        } else if opcode == Opcode::Readdirplus as u32 {
            let told = data.get(..8).map_or(1, |_| u64_at(data, 0));
            self.nodes.push(told.max(1));
        } else if opcode == Opcode::Read as u32 {
            let (offset, size) = (u64_at(request, HEADER + 8), u32_at(request, HEADER + 16));
            let content = &RIG.contents[&node];
            let from = usize::try_from(offset).map_or(content.len(), |at| at.min(content.len()));
            let right = &content[from..];
            assert!(data.len() <= usize::try_from(size.min(MAX_READ)).unwrap());
            assert!(right.starts_with(data), "other bytes");
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut session = Session::new(input.u8() & 7 == 1);
    for _ in 0..REQUESTS {
        if input.is_empty() {
            return;
        }
        let how = input.u8();
        let room = usize::from(input.u16());
        // Reads of more than the guest's usual buffer now and then.
        let room = if how & 0x80 != 0 { room * 4 } else { room };
        let len = usize::from(input.u8());
        let bytes = input.bytes(len);
        let request = session.request(how & 0x3, Input(bytes));
        session.send(&request, room, 1 + usize::from(how >> 4 & 0x7));
    }
});
