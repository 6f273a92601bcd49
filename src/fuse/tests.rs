//! Promises of the protocol, for guests that are sound and for others.

use std::sync::Arc;

use fuse_backend_rs::abi::fuse_abi as abi;
use vm17::ByteValued;

use super::memory_fs::{HELLO, LINK, MemoryFs, ROOT, SIZE, SLOW, TIMEOUT, content};
use super::wire::decode;
use super::{Outcome, REQUEST_LIMIT, Server, opcode as op};
use crate::destination::Destination;
use crate::fs::Errno;

/// The bytes of a request whose `unique` is 77.
pub(crate) fn request(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
    let header = abi::InHeader {
        len: u32::try_from(40 + body.len()).unwrap(),
        opcode,
        unique: 77,
        nodeid: node,
        ..Default::default()
    };
    [header.as_slice(), body].concat()
}

/// The body of a READ, READDIR or READDIRPLUS.
pub(crate) fn read_in(offset: u64, size: u32) -> Vec<u8> {
    let read = abi::ReadIn {
        offset,
        size,
        ..Default::default()
    };
    read.as_slice().to_vec()
}

fn init_in(major: u32, minor: u32, flags: u64, second_half: bool) -> Vec<u8> {
    let low = u32::try_from(flags & u64::from(u32::MAX)).unwrap();
    let first = abi::InitIn {
        major,
        minor,
        max_readahead: 131_072,
        flags: low,
    };
    let second = abi::InitIn2 {
        flags2: u32::try_from(flags >> 32).unwrap(),
        ..Default::default()
    };
    let second = if second_half { second.as_slice() } else { &[] };
    [first.as_slice(), second].concat()
}

struct Rig {
    fs: Arc<MemoryFs>,
    server: Server,
}

impl Rig {
    fn new() -> Self {
        let fs = Arc::new(MemoryFs::new());
        let server = Server::new(fs.clone());
        Self { fs, server }
    }

    /// Sends raw bytes with `room` bytes for the reply.
    fn raw(&self, request: &[u8], room: usize) -> Option<(i32, Vec<u8>)> {
        // What the reply must leave alone is marked.
        let mut buffer = vec![0xa5; room + 64];
        let (reply, behind) = buffer.split_at_mut(room);
        let len = match self
            .server
            .handle(request, &mut Destination::from_slice(reply))
        {
            Outcome::Done(len) => len,
            Outcome::NoReply => return None,
            Outcome::Pending(_) => panic!("a read waits"),
        };
        assert!(behind.iter().all(|&byte| byte == 0xa5));
        let header: abi::OutHeader = decode(reply).unwrap();
        assert_eq!(usize::try_from(header.len).unwrap(), len);
        assert_eq!(header.unique, 77);
        Some((header.error, reply[16..len].to_vec()))
    }

    fn ask(&self, opcode: u32, node: u64, body: &[u8]) -> (i32, Vec<u8>) {
        self.raw(&request(opcode, node, body), 1 << 20).unwrap()
    }

    fn errno(&self, opcode: u32, node: u64, body: &[u8]) -> i32 {
        let (error, data) = self.ask(opcode, node, body);
        assert!(error == 0 || data.is_empty());
        -error
    }

    fn init(&self, flags: u64) -> abi::InitOut {
        let (error, data) = self.ask(op::INIT, 0, &init_in(7, 38, flags, true));
        assert_eq!(error, 0);
        assert_eq!(data.len(), 64);
        decode(&data).unwrap()
    }
}

#[test]
fn init_takes_what_is_offered_and_wanted() {
    let rig = Rig::new();
    let all = rig.init(u64::MAX >> 1);
    assert_eq!((all.major, all.minor, all.max_pages), (7, 33, 256));
    assert_eq!((all.max_readahead, all.time_gran), (131_072, 1));
    let flags = abi::FsOptions::from_bits_truncate(u64::from(all.flags));
    assert!(flags.contains(abi::FsOptions::ASYNC_READ | abi::FsOptions::MAX_PAGES));
    assert!(flags.contains(abi::FsOptions::DO_READDIRPLUS | abi::FsOptions::CACHE_SYMLINKS));
    assert!(!flags.intersects(abi::FsOptions::AUTO_INVAL_DATA | abi::FsOptions::WRITEBACK_CACHE));
    assert_eq!(rig.init(0).flags, 0);
    assert_eq!(rig.fs.inits(), 2);
}

#[test]
fn init_of_other_versions_is_turned_down_or_down_graded() {
    let rig = Rig::new();
    let newer = rig.ask(op::INIT, 0, &init_in(8, 0, 0, false));
    let out: abi::InitOut = decode(&newer.1).unwrap();
    assert_eq!((newer.0, out.major), (0, 7));
    assert_eq!(
        rig.errno(op::INIT, 0, &init_in(6, 99, 0, false)),
        libc::EPROTO
    );
    assert_eq!(
        rig.errno(op::INIT, 0, &init_in(7, 26, 0, false)),
        libc::EPROTO
    );
    assert_eq!(rig.errno(op::INIT, 0, &[0; 15]), libc::EINVAL);
    assert_eq!(rig.fs.inits(), 0);
    // INIT_EXT without its second half.
    let ext = abi::FsOptions::INIT_EXT.bits();
    assert_eq!(rig.errno(op::INIT, 0, &init_in(7, 36, ext, false)), 0);
}

#[test]
fn open_costs_nothing_where_the_kernel_agrees() {
    let rig = Rig::new();
    let open = abi::OpenIn::default();
    let (error, data) = rig.ask(op::OPEN, HELLO, open.as_slice());
    let out: abi::OpenOut = decode(&data).unwrap();
    assert_eq!((error, out.fh, out.open_flags), (0, 0, 2));
    let (error, data) = rig.ask(op::OPENDIR, ROOT, open.as_slice());
    let out: abi::OpenOut = decode(&data).unwrap();
    assert_eq!((error, out.open_flags), (0, 10));
    rig.init(u64::MAX >> 1);
    assert_eq!(rig.errno(op::OPEN, HELLO, open.as_slice()), libc::ENOSYS);
    assert_eq!(rig.errno(op::OPENDIR, ROOT, open.as_slice()), libc::ENOSYS);
    let write = abi::OpenIn {
        flags: 2,
        ..Default::default()
    };
    assert_eq!(rig.errno(op::OPEN, HELLO, write.as_slice()), libc::EROFS);
}

#[test]
fn lookup_and_getattr_show_the_node() {
    let rig = Rig::new();
    let (_, data) = rig.ask(op::LOOKUP, ROOT, b"hello\0");
    let entry: abi::EntryOut = decode(&data).unwrap();
    assert_eq!(data.len(), 128);
    assert_eq!((entry.nodeid, entry.attr.ino), (HELLO, HELLO));
    assert_eq!((entry.entry_valid, entry.entry_valid_nsec), (3600, 5));
    assert_eq!(entry.attr.atime.cast_signed(), -7);
    assert_eq!((entry.attr.blksize, entry.attr.ctimensec), (4096, 9));
    let (_, data) = rig.ask(op::GETATTR, LINK, &[0; 16]);
    let attr: abi::AttrOut = decode(&data).unwrap();
    assert_eq!((data.len(), attr.attr.size), (104, 5));
    assert_eq!(attr.attr_valid, TIMEOUT.as_secs());
    assert_eq!(rig.ask(op::READLINK, LINK, &[]).1, b"hello");
    assert_eq!(rig.errno(op::GETATTR, 99, &[0; 16]), libc::ESTALE);
    let (_, data) = rig.ask(op::STATFS, ROOT, &[]);
    let statfs: abi::Kstatfs = decode(&data).unwrap();
    assert_eq!((data.len(), statfs.blocks, statfs.namelen), (80, 100, 255));
}

#[test]
fn names_that_make_no_sense_are_refused() {
    let rig = Rig::new();
    for name in [
        b"hello".as_slice(),
        b"",
        b"\0",
        b".\0",
        b"..\0",
        b"a/b\0",
        b"/\0",
    ] {
        assert_eq!(rig.errno(op::LOOKUP, ROOT, name), libc::EINVAL, "{name:?}");
    }
    let long = [vec![b'x'; 256], vec![0]].concat();
    assert_eq!(rig.errno(op::LOOKUP, ROOT, &long), libc::ENAMETOOLONG);
    assert_eq!(rig.errno(op::LOOKUP, ROOT, &long[1..]), libc::ENOENT);
}

#[test]
fn lookup_without_room_takes_no_reference() {
    let rig = Rig::new();
    let lookup = request(op::LOOKUP, ROOT, b"hello\0");
    for room in 0..144 {
        let answer = rig.raw(&lookup, room);
        assert_eq!(answer.map(|(error, _)| error), (room >= 16).then_some(-5));
    }
    assert_eq!(rig.fs.references(HELLO), 0);
    assert_eq!(rig.raw(&lookup, 144).unwrap().0, 0);
    assert_eq!(rig.fs.references(HELLO), 1);
}

#[test]
fn reads_are_bounded_by_room_and_file() {
    let rig = Rig::new();
    let whole = content();
    let (error, data) = rig.ask(op::READ, HELLO, &read_in(5, 4096));
    assert_eq!((error, data.as_slice()), (0, &whole[5..4101]));
    let huge = request(op::READ, HELLO, &read_in(0, u32::MAX));
    assert_eq!(rig.raw(&huge, 1 << 20).unwrap().1, whole);
    assert_eq!(rig.raw(&huge, 32).unwrap().1, whole[..16]);
    assert_eq!(rig.raw(&huge, 16).unwrap().1, b"");
    assert!(rig.raw(&huge, 15).is_none());
    let end = rig.ask(op::READ, HELLO, &read_in(SIZE as u64, 10));
    assert_eq!(end, (0, Vec::new()));
    assert_eq!(rig.ask(op::READ, HELLO, &read_in(u64::MAX, 10)).0, 0);
    assert_eq!(rig.errno(op::READ, ROOT, &read_in(0, 10)), libc::EISDIR);
    assert_eq!(rig.errno(op::READ, HELLO, &[0; 39]), libc::EINVAL);
}

#[test]
fn waiting_read_is_finished_later() {
    let rig = Rig::new();
    let read = request(op::READ, SLOW, &read_in(1, 1000));
    let mut buffer = vec![0; 2000];
    let outcome = rig
        .server
        .handle(&read, &mut Destination::from_slice(&mut buffer));
    let Outcome::Pending(pending) = outcome else {
        panic!("the read did not wait");
    };
    rig.fs.release(1);
    let result = crate::runtime::handle().unwrap().block_on(pending.read);
    let reply = pending.reply;
    assert_eq!(reply.size(), 1000);
    let len = reply
        .clone()
        .finish(result, &mut Destination::from_slice(&mut buffer));
    assert_eq!(len, 1016);
    assert_eq!(buffer[16..1016], content()[1..1001]);
    // Too much data, too little room, no room, an error, an odd error.
    let much = || Ok(vec![vec![1; 5000].into()]);
    let mut finish = |result, room: usize| {
        let len = reply
            .clone()
            .finish(result, &mut Destination::from_slice(&mut buffer[..room]));
        let header: abi::OutHeader = decode(&buffer).unwrap();
        (len, header.error)
    };
    assert_eq!(finish(much(), 2000), (1016, 0));
    assert_eq!(finish(much(), 20), (20, 0));
    assert_eq!(finish(much(), 15).0, 0);
    assert_eq!(finish(Err(Errno::EIO), 2000), (16, -libc::EIO));
    assert_eq!(finish(Err(Errno(100_000)), 2000), (16, -libc::EIO));
}

#[test]
fn directories_fit_what_is_asked_for() {
    let rig = Rig::new();
    let (_, all) = rig.ask(op::READDIR, ROOT, &read_in(0, u32::MAX));
    assert_eq!(all.len(), 5 * 32);
    let first: abi::Dirent = decode(&all).unwrap();
    assert_eq!((first.ino, first.off, first.namelen), (ROOT, 1, 1));
    assert_eq!(all[24], b'.');
    assert_eq!(rig.ask(op::READDIR, ROOT, &read_in(3, 4096)).1, all[96..]);
    assert_eq!(rig.ask(op::READDIR, ROOT, &read_in(0, 95)).1, all[..64]);
    assert_eq!(rig.ask(op::READDIR, ROOT, &read_in(u64::MAX, 95)).1, b"");
    let cramped = request(op::READDIR, ROOT, &read_in(0, u32::MAX));
    assert_eq!(rig.raw(&cramped, 16 + 40).unwrap().1, all[..32]);
    assert_eq!(
        rig.errno(op::READDIR, HELLO, &read_in(0, 10)),
        libc::ENOTDIR
    );
}

#[test]
fn readdirplus_takes_references_for_what_it_returns() {
    let rig = Rig::new();
    let (_, data) = rig.ask(op::READDIRPLUS, ROOT, &read_in(0, 3 * 160));
    assert_eq!(data.len(), 3 * 160);
    let dot: abi::Direntplus = decode(&data).unwrap();
    assert_eq!((dot.entry_out.nodeid, dot.dirent.ino), (0, ROOT));
    let hello: abi::Direntplus = decode(&data[320..]).unwrap();
    assert_eq!((hello.entry_out.nodeid, hello.dirent.off), (HELLO, 3));
    assert_eq!(&data[320 + 152..], b"hello\0\0\0");
    assert_eq!((rig.fs.references(HELLO), rig.fs.references(LINK)), (1, 0));
}

#[test]
fn xattrs_tell_size_then_value() {
    let rig = Rig::new();
    let ask = |opcode, size, name: &[u8]| {
        let head = abi::GetxattrIn { size, padding: 0 };
        rig.ask(opcode, HELLO, &[head.as_slice(), name].concat())
    };
    assert_eq!(
        ask(op::GETXATTR, 0, b"user.key\0").1,
        [5, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(ask(op::GETXATTR, 5, b"user.key\0").1, b"value");
    assert_eq!(ask(op::GETXATTR, 4, b"user.key\0").0, -libc::ERANGE);
    assert_eq!(ask(op::GETXATTR, 5, b"user.nil\0").0, -libc::ENODATA);
    assert_eq!(ask(op::GETXATTR, 5, b"user.key").0, -libc::EINVAL);
    assert_eq!(ask(op::LISTXATTR, 0, b"").1[0], 9);
    assert_eq!(ask(op::LISTXATTR, u32::MAX, b"").1, b"user.key\0");
    assert_eq!(rig.errno(op::GETXATTR, HELLO, &[0; 7]), libc::EINVAL);
}

#[test]
fn forget_is_counted_and_never_answered() {
    let rig = Rig::new();
    for _ in 0..5 {
        rig.ask(op::LOOKUP, ROOT, b"hello\0");
    }
    let one = request(op::FORGET, HELLO, &1u64.to_le_bytes());
    assert!(rig.raw(&one, 0).is_none());
    assert_eq!(rig.fs.references(HELLO), 4);
    let batch = |count: u32| {
        let items = [HELLO, 1, HELLO, 1].map(u64::to_le_bytes).concat();
        let head = u64::from(count).to_le_bytes();
        request(op::BATCH_FORGET, 0, &[head.as_slice(), &items].concat())
    };
    assert!(rig.raw(&batch(2), 100).is_none());
    assert_eq!(rig.fs.references(HELLO), 2);
    for lie in [0, 1, 3, u32::MAX] {
        assert!(rig.raw(&batch(lie), 100).is_none());
    }
    assert!(rig.raw(&request(op::FORGET, HELLO, &[0; 7]), 100).is_none());
    assert!(rig.raw(&request(op::INTERRUPT, 0, &[0; 8]), 100).is_none());
    assert_eq!(rig.fs.references(HELLO), 2);
}

#[test]
fn headers_that_lie_are_answered_with_an_error() {
    let rig = Rig::new();
    let sound = request(op::GETATTR, ROOT, &[0; 16]);
    for cut in 0..40 {
        assert!(rig.raw(&sound[..cut], 1000).is_none());
    }
    for cut in 40..sound.len() {
        assert_eq!(rig.raw(&sound[..cut], 1000).unwrap().0, -libc::EINVAL);
    }
    for len in [0, 39, 55, 57, u32::MAX] {
        let mut lie = sound.clone();
        lie[..4].copy_from_slice(&len.to_le_bytes());
        assert_eq!(rig.raw(&lie, 1000).unwrap().0, -libc::EINVAL);
    }
}

#[test]
fn long_requests_are_refused_by_their_header() {
    let rig = Rig::new();
    let body = vec![0; 2 * REQUEST_LIMIT];
    let write = request(op::WRITE, HELLO, &body);
    let write = &write[..REQUEST_LIMIT];
    assert_eq!(rig.raw(write, 24).unwrap().0, -libc::EROFS);
    let lookup = request(op::LOOKUP, ROOT, &body);
    let lookup = &lookup[..REQUEST_LIMIT];
    assert_eq!(rig.raw(lookup, 1000).unwrap().0, -libc::E2BIG);
}

#[test]
fn every_opcode_has_its_answer() {
    let rig = Rig::new();
    let changing = [4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 47, 51];
    let silent = [2, 36, 42];
    for opcode in 0..10_000 {
        for body in [&[][..], &[0xff; 8], &[0xff; 200]] {
            let Some((error, _)) = rig.raw(&request(opcode, ROOT, body), 4096) else {
                assert!(silent.contains(&opcode), "{opcode} is not answered");
                continue;
            };
            let expected = match opcode {
                _ if changing.contains(&opcode) => libc::EROFS,
                39 => libc::ENOTTY,
                // Carried out: whatever the body leads to.
                1 | 3 | 5 | 14 | 15 | 17 | 18 | 22 | 23 | 26..=29 | 38 | 44 => -error,
                _ => libc::ENOSYS,
            };
            assert_eq!(-error, expected, "opcode {opcode}");
        }
    }
}

#[test]
fn panic_of_the_file_system_is_an_error_for_its_request() {
    let rig = Rig::new();
    assert_eq!(rig.errno(op::LOOKUP, ROOT, b"panic\0"), libc::EIO);
    assert_eq!(rig.errno(op::LOOKUP, ROOT, b"hello\0"), 0);
}

#[test]
fn refused_forget_is_still_carried_out() {
    let rig = Rig::new();
    rig.ask(op::LOOKUP, ROOT, b"hello\0");
    let mut out = Destination::empty();
    let one = request(op::FORGET, HELLO, &1u64.to_le_bytes());
    let outcome = rig.server.refuse(&one, Errno::EIO, &mut out);
    assert!(matches!(outcome, Outcome::NoReply));
    assert_eq!(rig.fs.references(HELLO), 0);
}

proptest::proptest! {
    /// Errors are fine; panics, overruns and replies to nobody are bugs.
    #[test]
    fn any_bytes_are_answered_or_dropped(
        opcode in 0u32..60,
        node in 0u64..6,
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        len in proptest::option::of(proptest::prelude::any::<u32>()),
        room in 0usize..5000,
    ) {
        let rig = Rig::new();
        let mut bytes = request(opcode, node, &body);
        if let Some(len) = len {
            bytes[..4].copy_from_slice(&len.to_le_bytes());
        }
        let mut reply = vec![0xa5; room + 64];
        let (front, behind) = reply.split_at_mut(room);
        match rig.server.handle(&bytes, &mut Destination::from_slice(front)) {
            Outcome::Done(len) => proptest::prop_assert!((16..=room).contains(&len)),
            Outcome::NoReply => {
                proptest::prop_assert!(room < 16 || !op::has_reply(opcode));
            }
            Outcome::Pending(pending) => {
                proptest::prop_assert!(pending.reply.size() <= room - 16);
            }
        }
        proptest::prop_assert!(behind.iter().all(|&byte| byte == 0xa5));
    }
}
