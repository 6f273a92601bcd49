//! Names that go or change.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, RenameFlags};

use super::PassthroughFs;
use super::host::{self, Stat};
use crate::fs::Errno;
use crate::fs::operation::Reply;

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
        from: (u64, &[u8]),
        to: (u64, &[u8]),
        flags: u32,
    ) -> Result<Reply, Errno> {
        let (parent, to_parent) = (self.inodes.get(from.0)?, self.inodes.get(to.0)?);
        let flags = RenameFlags::from_bits_retain(flags);
        let (old, new) = (parent.directory()?, to_parent.directory()?);
        rustix::fs::renameat_with(old, from.1, new, to.1, flags)?;
        if self.inodes.is_kept() {
            self.note_name(to.0, new, to.1);
            if flags.contains(RenameFlags::EXCHANGE) {
                self.note_name(from.0, old, from.1);
            }
        }
        Ok(Reply::Done)
    }

    /// Writes down which node has a name now.
    fn note_name(&self, parent: u64, directory: BorrowedFd<'_>, name: &[u8]) {
        let found = host::find(directory, name).and_then(|fd| Stat::of(fd.as_fd()));
        // Who took it away meanwhile did so on the host.
        if let Ok(stat) = found {
            self.inodes.rename(&stat, parent, name);
        }
    }
}
