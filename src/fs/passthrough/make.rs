//! New nodes.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

use super::PassthroughFs;
use super::again::Wanted;
use super::host::{self, path_of};
use super::ids::without_keeping_ids;
use crate::fs::nodes::Holder;
use crate::fs::operation::{Caller, Making, Opened, Reply};
use crate::fs::{Entry, Errno};

fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o7777)
}

impl PassthroughFs {
    /// The node with `name` in a directory, with a reference of the guest.
    pub(super) fn find(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno> {
        self.find_for(Holder::Guest, parent, name)
    }

    /// The same for any holder.
    pub(super) fn find_for(
        &self,
        holder: Holder,
        parent: u64,
        name: &[u8],
    ) -> Result<Entry, Errno> {
        let inode = self.inodes.get(parent)?;
        let fd = host::find(inode.directory()?, name)?;
        self.enter_for(holder, (parent, &inode), name, fd)
    }

    /// CREATE.
    pub(super) fn create(
        &self,
        caller: Caller,
        parent: u64,
        name: &[u8],
        flags: u32,
        making: Making,
        kill: bool,
    ) -> Result<Reply, Errno> {
        let inode = self.inodes.get(parent)?;
        let directory = inode.directory()?;
        let exclusive = flags & libc::O_EXCL.cast_unsigned() != 0;
        let flags = self.allowed(flags);
        let make = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let make = OFlags::from_bits_retain((flags | make).cast_unsigned());
        let made = {
            let _acting = self.ids.act(caller, making.umask)?;
            rustix::fs::openat(directory, name, make, permissions(making.mode))
        };
        match made {
            Ok(fd) => {
                let held = self.hold(fd)?;
                let node = host::reopen(held.as_fd(), libc::O_PATH)?;
                let entry = self.enter((parent, &inode), name, node)?;
                self.created(entry, self.keep_file(entry.node, held, flags))
            }
            Err(rustix::io::Errno::EXIST) if !exclusive || caller.again => {
                if exclusive {
                    let file = Wanted::Node(libc::S_IFREG, 0);
                    self.is_made(caller, parent, name, &file)?;
                }
                let entry = self.find(parent, name)?;
                self.created(entry, self.open(entry.node, flags.cast_unsigned(), kill))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// OPEN.
    pub(super) fn open(&self, node: u64, flags: u32, kill: bool) -> Result<Opened, Errno> {
        let inode = self.inodes.get(node)?;
        let flags = self.allowed(flags);
        let fd = {
            let _plain = kill.then(without_keeping_ids).transpose()?;
            self.open_file(&inode, flags)?
        };
        self.keep_file(node, fd, flags)
    }

    /// TMPFILE.
    pub(super) fn temporary(
        &self,
        caller: Caller,
        parent: u64,
        flags: u32,
        making: Making,
    ) -> Result<Reply, Errno> {
        let inode = self.inodes.get(parent)?;
        let directory = inode.directory()?;
        let linkable = flags & libc::O_EXCL.cast_unsigned();
        let flags = self.allowed(flags) & !libc::O_TRUNC;
        let make = libc::O_TMPFILE | libc::O_CLOEXEC | linkable.cast_signed();
        let make = OFlags::from_bits_retain((flags | make).cast_unsigned());
        let fd = {
            let _acting = self.ids.act(caller, making.umask)?;
            rustix::fs::openat(directory, c".", make, permissions(making.mode))?
        };
        let held = self.hold(fd)?;
        let node = host::reopen(held.as_fd(), libc::O_PATH)?;
        let entry = self.enter((parent, &inode), b"", node)?;
        self.created(entry, self.keep_file(entry.node, held, flags))
    }

    /// A node that was looked up and opened; what cannot be opened is not held.
    fn created(&self, entry: Entry, opened: Result<Opened, Errno>) -> Result<Reply, Errno> {
        let opened = opened.inspect_err(|_| self.inodes.forget(entry.node, 1))?;
        Ok(Reply::Created(entry, opened))
    }

    /// MKNOD.
    pub(super) fn mknod(
        &self,
        caller: Caller,
        parent: u64,
        name: &[u8],
        making: Making,
        rdev: u32,
    ) -> Result<Reply, Errno> {
        self.made(caller, parent, name, making.umask, |directory| {
            let kind = FileType::from_raw_mode(making.mode);
            let mode = permissions(making.mode);
            rustix::fs::mknodat(directory, name, kind, mode, host::device(rdev))
        })
    }

    /// MKDIR.
    pub(super) fn mkdir(
        &self,
        caller: Caller,
        parent: u64,
        name: &[u8],
        making: Making,
    ) -> Result<Reply, Errno> {
        self.made(caller, parent, name, making.umask, |directory| {
            rustix::fs::mkdirat(directory, name, permissions(making.mode))
        })
    }

    /// SYMLINK.
    pub(super) fn symlink(
        &self,
        caller: Caller,
        parent: u64,
        name: &[u8],
        target: &[u8],
    ) -> Result<Reply, Errno> {
        self.made(caller, parent, name, 0, |directory| {
            rustix::fs::symlinkat(target, directory, name)
        })
    }

    /// LINK.
    pub(super) fn link(&self, parent: u64, node: u64, name: &[u8]) -> Result<Reply, Errno> {
        let inode = self.inodes.get(node)?;
        let directory = self.inodes.get(parent)?;
        let flags = AtFlags::SYMLINK_FOLLOW;
        let path = path_of(inode.fd());
        rustix::fs::linkat(CWD, path, directory.directory()?, name, flags)?;
        self.find(parent, name).map(Reply::Entry)
    }

    /// Makes something as the caller, and looks it up.
    fn made(
        &self,
        caller: Caller,
        parent: u64,
        name: &[u8],
        umask: u32,
        make: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> Result<(), rustix::io::Errno>,
    ) -> Result<Reply, Errno> {
        let inode = self.inodes.get(parent)?;
        {
            let _acting = self.ids.act(caller, umask)?;
            make(inode.directory()?)?;
        }
        self.find(parent, name).map(Reply::Entry)
    }
}
