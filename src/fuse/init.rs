//! INIT: what the kernel offers and what is taken of it.

use fuse_backend_rs::abi::fuse_abi::{FsOptions, InitIn, InitIn2, InitOut, KERNEL_VERSION};

use super::extension::CREATE_SUPP_GROUP;
use super::wire::decode;
use crate::fs::Errno;
use crate::fs::operation::Wants;

/// Most bytes that one READ is answered with: 256 pages of 64 KiB, the largest
/// page size that a kernel has. With 4 KiB pages the kernel asks for 1 MiB.
pub const MAX_READ: u32 = 16 << 20;

/// Minor version of the protocol that is spoken here.
const MINOR: u32 = 33;

/// Oldest minor version of a kernel that is served (Linux 4.18).
const OLDEST_MINOR: u32 = 27;

/// Pages of the largest request.
const MAX_PAGES: u16 = 256;

/// Requests that the kernel may have under way in the background (readahead),
/// and from how many on it calls the device congested.
const MAX_BACKGROUND: u16 = 128;
const CONGESTION: u16 = 96;

/// Largest payload of a WRITE: 256 pages of 4 KiB.
pub(super) const MAX_WRITE: u32 = 1 << 20;

/// The same where none succeeds; small enough that every request fits in
/// [`REQUEST_LIMIT`](super::REQUEST_LIMIT).
const MAX_WRITE_REFUSED: u32 = 32 << 10;

/// SETXATTR has a second word of flags (`FUSE_SETXATTR_EXT`).
pub(super) const SETXATTR_EXT: u64 = 1 << 29;

/// Mounts that show other owners than the file system's (`FUSE_ALLOW_IDMAP`): the
/// guest's kernel translates, and names translated owners in what it asks.
const ALLOW_IDMAP: u64 = 1 << 40;

/// Files that are opened with `FOPEN_DIRECT_IO` may be mapped
/// (`FUSE_DIRECT_IO_ALLOW_MMAP`).
const DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;

/// Options that are taken when they are offered.
fn wanted(wants: Wants) -> u64 {
    let always = FsOptions::ASYNC_READ
        | FsOptions::ASYNC_DIO
        | FsOptions::PARALLEL_DIROPS
        | FsOptions::DO_READDIRPLUS
        | FsOptions::READDIRPLUS_AUTO
        | FsOptions::CACHE_SYMLINKS
        | FsOptions::MAX_PAGES;
    let mut bits = always.bits();
    if wants.opens {
        let writing = FsOptions::BIG_WRITES
            | FsOptions::AUTO_INVAL_DATA
            | FsOptions::ATOMIC_O_TRUNC
            | FsOptions::HANDLE_KILLPRIV_V2
            | FsOptions::SUBMOUNTS;
        bits |= writing.bits() | SETXATTR_EXT | CREATE_SUPP_GROUP | ALLOW_IDMAP;
    } else {
        let unopened = FsOptions::ZERO_MESSAGE_OPEN | FsOptions::ZERO_MESSAGE_OPENDIR;
        bits |= unopened.bits();
    }
    if wants.plain_listings {
        let plus = FsOptions::DO_READDIRPLUS | FsOptions::READDIRPLUS_AUTO;
        bits &= !plus.bits();
    }
    if wants.writeback {
        bits |= FsOptions::WRITEBACK_CACHE.bits();
    }
    if wants.shared_maps {
        bits |= DIRECT_IO_ALLOW_MMAP;
    }
    if wants.posix_acl {
        bits |= (FsOptions::POSIX_ACL | FsOptions::DONT_MASK).bits();
    }
    bits
}

/// The answer to INIT.
pub(super) struct Negotiated {
    /// The reply.
    pub(super) reply: InitOut,
    /// What was agreed on; `None` when the kernel must first come down to our
    /// major version and ask again.
    pub(super) options: Option<u64>,
}

/// Answers the body of INIT.
///
/// # Errors
/// `EINVAL` for a short body, `EPROTO` for a kernel that is too old.
pub(super) fn negotiate(body: &[u8], wants: Wants) -> Result<Negotiated, Errno> {
    let offer: InitIn = decode(body).ok_or(Errno::EINVAL)?;
    let mut reply = InitOut {
        major: KERNEL_VERSION,
        minor: MINOR,
        ..InitOut::default()
    };
    if offer.major > KERNEL_VERSION {
        let options = None;
        return Ok(Negotiated { reply, options });
    }
    if offer.major < KERNEL_VERSION || offer.minor < OLDEST_MINOR {
        return Err(Errno(libc::EPROTO));
    }

    let mut offered = u64::from(offer.flags);
    if offered & FsOptions::INIT_EXT.bits() != 0 {
        // A kernel that promises a second half and sends none offers nothing
        // in it.
        let rest = body.get(size_of::<InitIn>()..).unwrap_or_default();
        let rest: InitIn2 = decode(rest).unwrap_or_default();
        offered |= u64::from(rest.flags2) << 32;
    }
    let mut options = offered & wanted(wants);
    if options >> 32 != 0 {
        // Else the kernel (since Linux 6.5) does not look at the second half.
        options |= FsOptions::INIT_EXT.bits();
    }
    let low = options & u64::from(u32::MAX);
    let high = options >> 32;

    reply.max_readahead = offer.max_readahead;
    reply.flags = u32::try_from(low).unwrap_or_default();
    reply.flags2 = u32::try_from(high).unwrap_or_default();
    reply.max_background = MAX_BACKGROUND;
    reply.congestion_threshold = CONGESTION;
    reply.max_write = if wants.opens {
        MAX_WRITE
    } else {
        MAX_WRITE_REFUSED
    };
    reply.time_gran = 1;
    reply.max_pages = MAX_PAGES;
    Ok(Negotiated {
        reply,
        options: Some(options),
    })
}
