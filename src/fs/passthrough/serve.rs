//! Requests, and who carries them out.

use std::time::Duration;

use rustix::fs::AtFlags;

use super::PassthroughFs;
use super::again::{Wanted, or_done};
use crate::destination::Destination;
use crate::fs::nodes::Holder;
use crate::fs::operation::{Caller, OpenFile, Operation, Reply, Wants};
use crate::fs::{Attr, DirEntry, Entry, Errno, FileSystem, Read, StatFs};

impl FileSystem for PassthroughFs {
    fn init(&self) {
        self.handles.clear();
        self.inodes.clear();
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno> {
        self.find(parent, name)
    }

    fn forget(&self, node: u64, count: u64) {
        self.inodes.forget(node, count);
    }

    fn hold(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno> {
        self.find_for(Holder::Tree, parent, name)
    }

    fn let_go(&self, node: u64) {
        self.inodes.let_go(node);
    }

    fn getattr(&self, node: u64) -> Result<(Attr, Duration), Errno> {
        self.attributes(node)
    }

    fn readlink(&self, node: u64) -> Result<Vec<u8>, Errno> {
        let inode = self.inodes.get(node)?;
        if inode.file_type() != libc::S_IFLNK {
            return Err(Errno::EINVAL);
        }
        let target = rustix::fs::readlinkat(inode.fd(), c"", Vec::new())?;
        Ok(target.into_bytes())
    }

    fn getxattr(&self, node: u64, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.get_xattr(node, name)
    }

    fn listxattr(&self, node: u64) -> Result<Vec<u8>, Errno> {
        self.list_xattrs(node)
    }

    fn readdir(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        self.list(node, handle, offset, false, &mut |shown, _| add(shown))
    }

    fn readdirplus(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Option<Entry>) -> bool,
    ) -> Result<(), Errno> {
        self.list(node, handle, offset, true, add)
    }

    fn statfs(&self, node: u64) -> Result<StatFs, Errno> {
        let inode = self.inodes.get(node)?;
        let figures = rustix::fs::fstatvfs(inode.fd())?;
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(StatFs {
            blocks: figures.f_blocks,
            free: figures.f_bfree,
            available: figures.f_bavail,
            files: figures.f_files,
            free_files: figures.f_ffree,
            block_size: small(figures.f_frsize),
            name_max: small(figures.f_namemax),
        })
    }

    fn read(&self, node: u64, handle: u64, offset: u64, dest: &mut Destination<'_>) -> Read {
        self.read_file(OpenFile { node, handle }, offset, dest)
    }

    fn is_held(&self) -> bool {
        self.inodes.len() > 0 || self.handles.len() > 0
    }

    fn wants(&self) -> Wants {
        Wants {
            opens: true,
            posix_acl: self.options.posix_acl,
            plain_listings: self.options.plain_listings,
            writeback: self.options.writeback,
            shared_maps: self.options.shared_maps,
        }
    }

    fn perform(&self, caller: Caller, node: u64, operation: Operation<'_>) -> Result<Reply, Errno> {
        if self.options.read_only && operation.changes() {
            return Err(Errno::EROFS);
        }
        let file = |handle| OpenFile { node, handle };
        match operation {
            Operation::Open {
                flags,
                kill_privileges,
            } => self.open(node, flags, kill_privileges).map(Reply::Opened),
            Operation::OpenDir => self.open_directory(node).map(Reply::Opened),
            Operation::Release(handle) => {
                self.handles.remove(node, handle);
                Ok(Reply::Done)
            }
            Operation::Create {
                name,
                flags,
                making,
                kill_privileges,
            } => self.create(caller, node, name, flags, making, kill_privileges),
            Operation::TmpFile { .. } if !self.options.nameless => Err(Errno::EOPNOTSUPP),
            Operation::TmpFile { flags, making } => self.temporary(caller, node, flags, making),
            Operation::Mknod { name, making, rdev } => {
                let made = self.mknod(caller, node, name, making, rdev);
                self.or_made(caller, made, (node, name), &Wanted::Node(making.mode, rdev))
            }
            Operation::Mkdir { name, making } => {
                let made = self.mkdir(caller, node, name, making);
                self.or_made(caller, made, (node, name), &Wanted::Directory)
            }
            Operation::Symlink { name, target } => {
                let made = self.symlink(caller, node, name, target);
                self.or_made(caller, made, (node, name), &Wanted::Link(target))
            }
            Operation::Link { node: old, name } => {
                let linked = self.link(node, old, name);
                or_done(caller, linked, Errno::EEXIST, || {
                    self.is_linked(node, old, name)
                })
            }
            Operation::Unlink(name) => {
                let removed = self.remove(node, name, AtFlags::empty());
                or_done(caller, removed, Errno::ENOENT, || Ok(Reply::Done))
            }
            Operation::Rmdir(name) => {
                let removed = self.remove(node, name, AtFlags::REMOVEDIR);
                or_done(caller, removed, Errno::ENOENT, || Ok(Reply::Done))
            }
            Operation::Rename {
                name,
                to,
                to_name,
                flags,
            } => self.rename(caller, (node, name), (to, to_name), flags),
            Operation::SetAttr(set) => {
                self.set_attributes(node, &set)?;
                let (attr, timeout) = self.attributes(node)?;
                Ok(Reply::Attr(attr, timeout))
            }
            Operation::Write {
                handle,
                offset,
                data,
                kill_privileges,
            } => self.write_file(caller, file(handle), offset, &data, kill_privileges),
            Operation::Flush(handle) => self.flush(node, handle),
            Operation::Fsync { handle, data_only } => {
                let file = self.file(node, handle, libc::O_RDONLY)?;
                Ok(self.sync(file, data_only))
            }
            Operation::FsyncDir { handle, data_only } => {
                let directory = self.directory(node, handle)?;
                Ok(self.sync(directory, data_only))
            }
            Operation::SetXattr {
                name,
                value,
                flags,
                kill_sgid,
            } => {
                let set = self.set_xattr(node, name, value, flags, kill_sgid);
                let look = || self.has_xattr(node, name, value);
                or_done(caller, set, Errno::EEXIST, look)
            }
            Operation::RemoveXattr(name) => {
                let removed = self.remove_xattr(node, name);
                or_done(caller, removed, Errno::ENODATA, || Ok(Reply::Done))
            }
            Operation::Fallocate {
                handle,
                mode,
                offset,
                len,
            } => self.allocate(file(handle), mode, offset, len, caller.uid != 0),
            Operation::Lseek {
                handle,
                offset,
                whence,
            } => self.seek(file(handle), offset, whence),
            Operation::CopyRange {
                handle,
                offset,
                to,
                to_offset,
                len,
            } => self.copy(file(handle), offset, to, to_offset, len, caller.uid != 0),
            Operation::SyncFs => Ok(self.sync_all()),
            // The guest's kernel checks permissions by itself.
            Operation::Access(_) => self.inodes.get(node).map(|_| Reply::Done),
        }
    }
}
