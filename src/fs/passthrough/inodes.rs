//! The nodes that a guest holds.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use parking_lot::RwLock;

use super::descriptors::Held;
use super::host::Stat;
use crate::fs::Errno;
use crate::fs::nodes::ROOT;

/// Node ids have 40 bits, which is what the tree of mounts leaves.
const LAST: u64 = (1 << 40) - 1;

/// What makes a node: device, mount and inode number. The descriptor keeps all
/// three from being used again.
type Key = (u64, u64, u64);

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

    /// # Errors
    /// `ENOTDIR` when it is no directory.
    pub(super) fn directory(&self) -> Result<BorrowedFd<'_>, Errno> {
        match self.file_type {
            libc::S_IFDIR => Ok(self.fd()),
            _ => Err(Errno::ENOTDIR),
        }
    }
}

#[derive(Default)]
struct Table {
    nodes: HashMap<u64, (Arc<Inode>, u64)>,
    keys: HashMap<Key, u64>,
}

/// The table of held nodes. There is one per inode and mount, however often it is
/// looked up; ids are never used twice.
pub(super) struct Inodes {
    root: Arc<Inode>,
    table: RwLock<Table>,
    last: AtomicU64,
}

impl Inodes {
    /// A table in which only the root is held.
    pub(super) fn new(root: Inode) -> Self {
        Self {
            root: Arc::new(root),
            table: RwLock::default(),
            last: AtomicU64::new(ROOT),
        }
    }

    /// The node with an id.
    ///
    /// # Errors
    /// `ESTALE` when it is not held.
    pub(super) fn get(&self, node: u64) -> Result<Arc<Inode>, Errno> {
        if node == ROOT {
            return Ok(Arc::clone(&self.root));
        }
        let table = self.table.read();
        let found = table.nodes.get(&node);
        found
            .map(|(inode, _)| Arc::clone(inode))
            .ok_or(Errno::ESTALE)
    }

    /// Adds a reference to the node behind `fd`; returns its id.
    ///
    /// # Errors
    /// `EIO` when all ids were used.
    pub(super) fn enter(&self, stat: &Stat, fd: Held) -> Result<u64, Errno> {
        let key = (stat.dev, stat.mount, stat.ino);
        if key == self.root.key {
            return Ok(ROOT);
        }
        let mut table = self.table.write();
        let table = &mut *table;
        if let Some(&node) = table.keys.get(&key)
            && let Some((_, references)) = table.nodes.get_mut(&node)
        {
            *references = references.saturating_add(1);
            return Ok(node);
        }
        let node = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        if node > LAST {
            return Err(Errno::EIO);
        }
        let inode = Arc::new(Inode::new(stat, fd));
        table.keys.insert(key, node);
        table.nodes.insert(node, (inode, 1));
        Ok(node)
    }

    /// Drops references; the last one closes the descriptor.
    pub(super) fn forget(&self, node: u64, count: u64) {
        let mut table = self.table.write();
        let table = &mut *table;
        if let Slot::Occupied(mut slot) = table.nodes.entry(node) {
            let (_, references) = slot.get_mut();
            *references = references.saturating_sub(count);
            if *references == 0 {
                let (inode, _) = slot.remove();
                table.keys.remove(&inode.key);
            }
        }
    }

    /// Drops all references.
    pub(super) fn clear(&self) {
        let old = std::mem::take(&mut *self.table.write());
        // Descriptors are closed outside the lock.
        drop(old);
    }

    /// One held node of each file system, the root's first.
    pub(super) fn of_each_device(&self) -> Vec<Arc<Inode>> {
        let table = self.table.read();
        let mut found: HashMap<u64, Arc<Inode>> = HashMap::new();
        found.insert(self.root.dev(), Arc::clone(&self.root));
        for (inode, _) in table.nodes.values() {
            if matches!(inode.file_type, libc::S_IFDIR | libc::S_IFREG) {
                found
                    .entry(inode.dev())
                    .or_insert_with(|| Arc::clone(inode));
            }
        }
        found.into_values().collect()
    }

    /// Nodes that are held, the root not counted.
    pub(super) fn len(&self) -> usize {
        self.table.read().nodes.len()
    }
}
