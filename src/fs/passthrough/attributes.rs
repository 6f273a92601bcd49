//! Attributes of nodes.

use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};

use super::PassthroughFs;
use super::host::{self, Stat, path_of};
use super::ids::without_keeping_ids;
use crate::fs::operation::{SetAttr, SetTime};
use crate::fs::{Attr, Errno};

fn time(set: Option<SetTime>) -> Timespec {
    let special = |nanos| Timespec {
        tv_sec: 0,
        tv_nsec: nanos,
    };
    match set {
        None => special(UTIME_OMIT),
        Some(SetTime::Now) => special(UTIME_NOW),
        Some(SetTime::At(seconds, nanos)) => Timespec {
            tv_sec: seconds,
            tv_nsec: nanos.into(),
        },
    }
}

impl PassthroughFs {
    /// The attributes of a node and how long they stay valid.
    pub(super) fn attributes(&self, node: u64) -> Result<(Attr, Duration), Errno> {
        let inode = self.inodes.get(node)?;
        let stat = Stat::of(inode.fd())?;
        Ok((self.attr(&stat)?, self.options.cache.timeout()))
    }

    /// SETATTR, in the order in which a kernel does it.
    pub(super) fn set_attributes(&self, node: u64, set: &SetAttr) -> Result<(), Errno> {
        let inode = self.inodes.get(node)?;
        let fd = inode.fd();
        if let Some(mode) = set.mode {
            let mode = Mode::from_bits_truncate(mode & 0o7777);
            if inode.file_type() == libc::S_IFLNK {
                return Err(Errno::EOPNOTSUPP);
            }
            rustix::fs::chmodat(CWD, path_of(fd), mode, AtFlags::empty())?;
        }
        if set.uid.is_some() || set.gid.is_some() {
            // All ones mean no id, for the guest's kernel too.
            let uid = set.uid.filter(|&id| id != u32::MAX).map(Uid::from_raw);
            let gid = set.gid.filter(|&id| id != u32::MAX).map(Gid::from_raw);
            rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if let Some(size) = set.size {
            match inode.file_type() {
                libc::S_IFREG => {}
                libc::S_IFDIR => return Err(Errno::EISDIR),
                _ => return Err(Errno::EINVAL),
            }
            let file = host::reopen(fd, libc::O_WRONLY | libc::O_NONBLOCK)?;
            let _plain = set.kill_privileges.then(without_keeping_ids).transpose()?;
            rustix::fs::ftruncate(&file, size)?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            let times = Timestamps {
                last_access: time(set.atime),
                last_modification: time(set.mtime),
            };
            rustix::fs::utimensat(CWD, path_of(fd), &times, AtFlags::empty())?;
        }
        Ok(())
    }
}
