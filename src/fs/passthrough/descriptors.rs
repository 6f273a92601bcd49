//! Descriptors that guests hold, so that they leave some for the daemon.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

use crate::fs::Errno;

/// Descriptors that are kept for everything else.
const RESERVE: u64 = 1024;

static IN_USE: AtomicU64 = AtomicU64::new(0);
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Looks up how many descriptors the process may have.
pub(super) fn note_limit() {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let reserve = RESERVE.min(limit / 4);
    LIMIT.store(limit - reserve, Ordering::Relaxed);
}

/// A descriptor on behalf of a guest.
pub(super) struct Held {
    fd: OwnedFd,
    counted: bool,
}

impl Held {
    /// Counts a descriptor.
    ///
    /// # Errors
    /// `ENFILE` when guests hold as many as they may; it is closed.
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        if IN_USE.fetch_add(1, Ordering::Relaxed) >= LIMIT.load(Ordering::Relaxed) {
            IN_USE.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno(libc::ENFILE));
        }
        Ok(Self { fd, counted: true })
    }

    /// A descriptor that is not the guest's doing.
    pub(super) fn exempt(fd: OwnedFd) -> Self {
        Self { fd, counted: false }
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.counted {
            IN_USE.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
