//! The FUSE protocol: decodes a request, asks the file system, encodes the
//! reply. It knows nothing of how messages travel.
//!
//! * [`Server`] takes one request as private bytes and writes one reply into a
//!   [`Destination`](crate::destination::Destination).
//! * A read that has to wait comes back as [`Pending`]: the transport awaits
//!   the future and then calls [`ReplyTo::finish`].
//!
//! Every request whose header can be read is answered, with an error where
//! nothing better is possible; only FORGET, BATCH_FORGET and INTERRUPT have no
//! reply. Layouts are those of `include/uapi/linux/fuse.h`, version 7.33.
//!
//! May use: `fs`, `destination`. Used by: `virtio`, `fusedev`.

mod encode;
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

/// Bytes of a request that a transport must gather at most: what lies beyond
/// is payload of a request that writes, which is refused by its header alone.
pub const REQUEST_LIMIT: usize = 64 << 10;

/// Bytes of the header before every reply.
pub const REPLY_HEADER_LEN: usize = 16;
