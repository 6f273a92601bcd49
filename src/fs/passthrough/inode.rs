//! A node of the host.

use std::os::fd::{AsFd as _, BorrowedFd};

use super::descriptors::Held;
use super::file_handle::FileHandle;
use super::host::{self, Stat};
use super::keep::{Identity, Record};
use crate::fs::Errno;
use crate::fs::nodes::ROOT;

/// What makes a node: device, mount and inode number. The descriptor keeps all
/// three from being used again.
pub(super) type Key = (u64, u64, u64);

/// A node of the host.
pub(super) struct Inode {
    key: Key,
    file_type: u32,
    fd: Held,
}

impl Inode {
    /// The node behind a descriptor.
    pub(super) fn new(stat: &Stat, fd: Held) -> Self {
        Self {
            key: (stat.dev, stat.mount, stat.ino),
            file_type: stat.file_type(),
            fd,
        }
    }

    /// Its descriptor, which names it and does nothing else.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What makes it.
    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// Device number of its file system.
    pub(super) fn dev(&self) -> u64 {
        self.key.0
    }

    /// Number of its mount.
    pub(super) fn mount(&self) -> u64 {
        self.key.1
    }

    /// Type bits of its mode.
    pub(super) fn file_type(&self) -> u32 {
        self.file_type
    }

    /// What it is found again by.
    pub(super) fn identity(&self) -> Identity {
        Identity {
            key: self.key,
            birth: host::birth(self.fd()),
            file_type: self.file_type,
            handle: FileHandle::of(self.fd()).ok(),
        }
    }

    /// It, written down as the root.
    pub(super) fn record(&self) -> Vec<u8> {
        let record = Record {
            id: ROOT,
            identity: self.identity(),
            references: 1,
            parent: ROOT,
            name: Vec::new(),
        };
        record.write()
    }

    /// # Errors
    /// `ENOTDIR` when it is no directory.
    pub(super) fn directory(&self) -> Result<BorrowedFd<'_>, Errno> {
        match self.file_type {
            libc::S_IFDIR => Ok(self.fd()),
            _ => Err(Errno::ENOTDIR),
        }
    }
}
