//! The place of a file system that a crashed daemon served and that cannot be
//! served any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::operation::{Caller, Operation, Reply, Wants};
use super::{Attr, DirEntry, Entry, Errno, FileSystem, Read, StatFs};
use crate::destination::Destination;

/// Answers all that a guest asks of what it holds with ESTALE, so that it keeps
/// its numbers until it is unmounted or replaced.
#[derive(Debug)]
pub struct GoneFs {
    wants: Wants,
    /// Whether a session began that knows nothing of it.
    forgotten: AtomicBool,
}

impl GoneFs {
    /// In the place of one that wanted this of its sessions.
    pub fn new(wants: Wants) -> Self {
        Self {
            wants,
            forgotten: AtomicBool::new(false),
        }
    }
}

impl FileSystem for GoneFs {
    fn init(&self) {
        self.forgotten.store(true, Ordering::Relaxed);
    }

    fn lookup(&self, _parent: u64, _name: &[u8]) -> Result<Entry, Errno> {
        Err(Errno::ESTALE)
    }

    fn forget(&self, _node: u64, _count: u64) {}

    fn getattr(&self, _node: u64) -> Result<(Attr, Duration), Errno> {
        Err(Errno::ESTALE)
    }

    fn readlink(&self, _node: u64) -> Result<Vec<u8>, Errno> {
        Err(Errno::ESTALE)
    }

    fn getxattr(&self, _node: u64, _name: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(Errno::ESTALE)
    }

    fn listxattr(&self, _node: u64) -> Result<Vec<u8>, Errno> {
        Err(Errno::ESTALE)
    }

    fn readdir(
        &self,
        _node: u64,
        _handle: u64,
        _offset: u64,
        _add: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        Err(Errno::ESTALE)
    }

    fn readdirplus(
        &self,
        _node: u64,
        _handle: u64,
        _offset: u64,
        _add: &mut dyn FnMut(DirEntry<'_>, Option<Entry>) -> bool,
    ) -> Result<(), Errno> {
        Err(Errno::ESTALE)
    }

    fn statfs(&self, _node: u64) -> Result<StatFs, Errno> {
        Err(Errno::ESTALE)
    }

    fn read(&self, _node: u64, _handle: u64, _offset: u64, _dest: &mut Destination<'_>) -> Read {
        Read::Ready(Err(Errno::ESTALE))
    }

    fn perform(
        &self,
        _caller: Caller,
        _node: u64,
        operation: Operation<'_>,
    ) -> Result<Reply, Errno> {
        match operation {
            // Nothing of it is open, and nothing is left to be written.
            Operation::Release(_) | Operation::SyncFs => Ok(Reply::Done),
            _ => Err(Errno::ESTALE),
        }
    }

    fn wants(&self) -> Wants {
        self.wants
    }

    fn is_held(&self) -> bool {
        !self.forgotten.load(Ordering::Relaxed)
    }
}
