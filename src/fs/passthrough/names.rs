//! Names that go or change.

use rustix::fs::{AtFlags, RenameFlags};

use super::PassthroughFs;
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
        Ok(Reply::Done)
    }
}
