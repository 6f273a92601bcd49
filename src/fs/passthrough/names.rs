//! Names that go or change.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, RenameFlags};

use super::PassthroughFs;
use super::again::exchange_of;
use super::host::{self, Stat};
use crate::fs::Errno;
use crate::fs::operation::{Caller, Reply};

impl PassthroughFs {
    /// UNLINK, and with `AT_REMOVEDIR` RMDIR.
    pub(super) fn remove(&self, parent: u64, name: &[u8], how: AtFlags) -> Result<Reply, Errno> {
        let parent = self.inodes.get(parent)?;
        rustix::fs::unlinkat(parent.directory()?, name, how)?;
        Ok(Reply::Done)
    }

    /// RENAME and RENAME2.
    pub(super) fn rename(
        &self,
        caller: Caller,
        from: (u64, &[u8]),
        to: (u64, &[u8]),
        flags: u32,
    ) -> Result<Reply, Errno> {
        let (parent, to_parent) = (self.inodes.get(from.0)?, self.inodes.get(to.0)?);
        let flags = RenameFlags::from_bits_retain(flags);
        let (old, new) = (parent.directory()?, to_parent.directory()?);
        if caller.again && self.is_renamed((old, from), (new, to), flags) {
            return Ok(Reply::Done);
        }
        let kept = self.inodes.is_kept();
        let exchange = kept && flags.contains(RenameFlags::EXCHANGE);
        if exchange {
            self.announce((old, from.1), (new, to.1), exchange_of(from, to));
        }
        rustix::fs::renameat_with(old, from.1, new, to.1, flags)?;
        if kept {
            self.note_name((new, to.1), to);
        }
        if exchange {
            self.note_name((old, from.1), from);
        }
        Ok(Reply::Done)
    }

    /// Writes down that what is `at` a name has this `name`.
    fn note_name(&self, at: (BorrowedFd<'_>, &[u8]), name: (u64, &[u8])) {
        let found = host::find(at.0, at.1).and_then(|fd| Stat::of(fd.as_fd()));
        // Who took it away meanwhile did so on the host.
        if let Ok(stat) = found {
            self.inodes.rename(&stat, name.0, name.1);
        }
    }
}
