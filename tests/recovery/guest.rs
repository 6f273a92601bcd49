//! Requests that change a directory, as a guest's kernel sends them.

use crate::support::session::wire::{Body, Entry, Fields, op};
use crate::support::session::{Answer, Session};

const SETATTR: u32 = 4;
const SYMLINK: u32 = 6;
const MKDIR: u32 = 9;
const UNLINK: u32 = 10;
const RMDIR: u32 = 11;
const LINK: u32 = 13;
const FSYNC: u32 = 20;
const SETXATTR: u32 = 21;
const REMOVEXATTR: u32 = 24;
const CREATE: u32 = 35;
const RENAME2: u32 = 45;

/// A request: opcode, node, body and room for the reply.
#[derive(Clone, Debug)]
pub(crate) struct Request(
    pub(crate) u32,
    pub(crate) u64,
    pub(crate) Vec<u8>,
    pub(crate) usize,
);

impl Request {
    /// Sends it and waits.
    pub(crate) fn send(&self, guest: &mut Session) -> Answer<Vec<u8>> {
        guest.raw(self.0, self.1, &self.2, self.3)
    }
}

fn number(flags: i32) -> u32 {
    u32::try_from(flags).unwrap()
}

/// CREATE.
pub(crate) fn create(parent: u64, name: &str, flags: i32) -> Request {
    let body = Body::default()
        .u32(number(flags | libc::O_CREAT))
        .u32(libc::S_IFREG | 0o644)
        .u32(0)
        .u32(0)
        .name(name.as_bytes());
    Request(CREATE, parent, body.0, Entry::LEN + 16)
}

/// Node and handle of the reply to CREATE.
pub(crate) fn created(reply: &[u8]) -> (u64, u64) {
    let node = Fields(reply).u64();
    (node, Fields(&reply[Entry::LEN..]).u64())
}

/// The node of a reply to what makes one.
pub(crate) fn made(reply: &[u8]) -> u64 {
    Fields(reply).u64()
}

/// OPEN.
pub(crate) fn open(node: u64, flags: i32) -> Request {
    Request(
        op::OPEN,
        node,
        Body::default().u32(number(flags)).u32(0).0,
        16,
    )
}

/// WRITE.
pub(crate) fn write(node: u64, handle: u64, offset: u64, data: &[u8]) -> Request {
    let len = u32::try_from(data.len()).unwrap();
    let head = Body::default().u64(handle).u64(offset).u32(len).u32(0);
    let mut body = head.u64(0).u32(0).u32(0).0;
    body.extend(data);
    Request(op::WRITE, node, body, 8)
}

/// FSYNC.
pub(crate) fn fsync(node: u64, handle: u64) -> Request {
    Request(FSYNC, node, Body::default().u64(handle).u32(0).u32(0).0, 0)
}

/// RELEASE.
pub(crate) fn release(node: u64, handle: u64) -> Request {
    let body = Body::default().u64(handle).u32(0).u32(0).u64(0);
    Request(op::RELEASE, node, body.0, 0)
}

/// MKDIR.
pub(crate) fn mkdir(parent: u64, name: &str) -> Request {
    let body = Body::default().u32(0o755).u32(0).name(name.as_bytes());
    Request(MKDIR, parent, body.0, Entry::LEN)
}

/// SYMLINK.
pub(crate) fn symlink(parent: u64, name: &str, target: &str) -> Request {
    let body = Body::default()
        .name(name.as_bytes())
        .name(target.as_bytes());
    Request(SYMLINK, parent, body.0, Entry::LEN)
}

/// LINK.
pub(crate) fn link(node: u64, parent: u64, name: &str) -> Request {
    let body = Body::default().u64(node).name(name.as_bytes());
    Request(LINK, parent, body.0, Entry::LEN)
}

/// UNLINK.
pub(crate) fn unlink(parent: u64, name: &str) -> Request {
    Request(UNLINK, parent, Body::default().name(name.as_bytes()).0, 0)
}

/// RMDIR.
pub(crate) fn rmdir(parent: u64, name: &str) -> Request {
    Request(RMDIR, parent, Body::default().name(name.as_bytes()).0, 0)
}

/// RENAME2 to a name in the directory `to`.
pub(crate) fn rename(parent: u64, name: &str, to: u64, to_name: &str, flags: u32) -> Request {
    let body = Body::default().u64(to).u32(flags).u32(0);
    let body = body.name(name.as_bytes()).name(to_name.as_bytes());
    Request(RENAME2, parent, body.0, 0)
}

/// SETXATTR in the form with two words of flags.
pub(crate) fn setxattr(node: u64, name: &str, value: &[u8], flags: i32) -> Request {
    let len = u32::try_from(value.len()).unwrap();
    let head = Body::default().u32(len).u32(number(flags)).u32(0).u32(0);
    let mut body = head.name(name.as_bytes()).0;
    body.extend(value);
    Request(SETXATTR, node, body, 0)
}

/// REMOVEXATTR.
pub(crate) fn removexattr(node: u64, name: &str) -> Request {
    Request(
        REMOVEXATTR,
        node,
        Body::default().name(name.as_bytes()).0,
        0,
    )
}

/// SETATTR of the size.
pub(crate) fn truncate(node: u64, size: u64) -> Request {
    let mut body = Body::default().u32(1 << 3).u32(0).u64(0).u64(size).0;
    body.resize(88, 0);
    Request(SETATTR, node, body, 104)
}
