//! The FUSE protocol: decodes a request, asks the file system, encodes the
//! reply. It knows nothing of how messages travel.
//!
//! * [`Server`] takes one request as private bytes and writes one reply into a
//!   [`Destination`](crate::destination::Destination).
//! * A read or a change that has to wait comes back as [`Pending`]: the transport
//!   awaits the future and then calls [`ReplyTo::finish`].
//! * What a WRITE brings may stay where it is: a [`Payload`](crate::payload::Payload)
//!   behind [`WRITE_HEAD_LEN`] private bytes.
//!
//! Every request whose header can be read is answered, with an error where
//! nothing better is possible; only FORGET, BATCH_FORGET and INTERRUPT have no
//! reply. Layouts are those of `include/uapi/linux/fuse.h`, version 7.33, and
//! what later ones add where both sides agreed on it in INIT.
//!
//! May use: `fs`, `destination`, `payload`. Used by: `virtio`, `fusedev`.

mod change;
mod encode;
mod extension;
mod init;
mod opcode;
mod reply;
mod request;
mod server;
pub mod stats;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
use crate::{destination, fs as fs_api};
#[cfg(test)]
#[path = "../../tests/memory_fs/mod.rs"]
pub(crate) mod memory_fs;

pub use init::MAX_READ;
pub use reply::{Pending, ReplyTo};
pub use server::{Outcome, Server};
pub use stats::Stats;

/// Bytes of a request other than WRITE that a transport must gather at most; the
/// longest is a SETXATTR with a value of 64 KiB.
pub const REQUEST_LIMIT: usize = 68 << 10;

/// Bytes of a WRITE before its payload.
pub const WRITE_HEAD_LEN: usize = 80;

/// Bytes of the longest request, headers and all.
pub const LONGEST_REQUEST: usize = init::MAX_WRITE as usize + 4096;

/// Whether the request that begins so is a WRITE.
pub fn is_write(request: &[u8]) -> bool {
    let opcode = request
        .get(4..8)
        .map(|bytes| bytes == opcode::WRITE.to_le_bytes());
    opcode == Some(true)
}

/// Bytes of the header before every reply.
pub const REPLY_HEADER_LEN: usize = 16;
