//! The nodes that a guest holds.

#[cfg(test)]
mod tests;

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use parking_lot::RwLock;

use super::descriptors::Held;
use super::host::Stat;
use super::inode::{Inode, Key};
use super::keep::{CHANGING, Identity, MARK, Record, STEP, changing};
use crate::fs::Errno;
use crate::fs::nodes::ROOT;
use crate::state::{Serial, Slot as Place, Slots};

/// Node ids have 40 bits, which is what the tree of mounts leaves.
const LAST: u64 = (1 << 40) - 1;

/// A node with what is held of it.
pub(super) struct Node {
    pub(super) inode: Arc<Inode>,
    pub(super) references: u64,
    pub(super) place: Place,
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) nodes: HashMap<u64, Node>,
    pub(super) keys: HashMap<Key, u64>,
    pub(super) ids: Serial,
}

impl Table {
    /// An id that no node had.
    fn next(&mut self, kept: Option<&Slots>) -> Result<u64, Errno> {
        let node = self.ids.next(kept, STEP);
        node.filter(|&node| node <= LAST).ok_or(Errno::EIO)
    }

    /// Adds a new node, with one reference.
    fn insert(&mut self, id: u64, inode: Inode, place: Place) {
        self.keys.insert(inode.key(), id);
        let node = Node {
            inode: Arc::new(inode),
            references: 1,
            place,
        };
        self.nodes.insert(id, node);
    }
}

/// The table of held nodes. There is one per inode and mount, however often it is
/// looked up; ids are never used twice.
pub(super) struct Inodes {
    pub(super) root: Arc<Inode>,
    pub(super) table: RwLock<Table>,
    pub(super) kept: Option<Slots>,
}

impl Inodes {
    /// A table in which only the root is held.
    pub(super) fn new(root: Inode) -> Self {
        Self {
            root: Arc::new(root),
            table: RwLock::new(Table {
                ids: Serial::behind(ROOT),
                ..Table::default()
            }),
            kept: None,
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
            .map(|node| Arc::clone(&node.inode))
            .ok_or(Errno::ESTALE)
    }

    /// Adds a reference to the node behind `fd`, which has this name in the directory
    /// `parent`; returns its id.
    ///
    /// # Errors
    /// `EIO` when all ids were used, or none can be reserved.
    pub(super) fn enter(&self, stat: &Stat, fd: Held, name: (u64, &[u8])) -> Result<u64, Errno> {
        self.enter_as(stat, fd, name, Identity::of)
    }

    /// The same, asking `identify` for what a new node is found again by. That may
    /// take the kernel a while, so the table is not locked meanwhile.
    fn enter_as(
        &self,
        stat: &Stat,
        fd: Held,
        name: (u64, &[u8]),
        identify: impl FnOnce(BorrowedFd<'_>, &Stat) -> Identity,
    ) -> Result<u64, Errno> {
        let key = (stat.dev, stat.mount, stat.ino);
        if key == self.root.key() {
            return Ok(ROOT);
        }
        let Some(kept) = &self.kept else {
            let mut table = self.table.write();
            if let Some(node) = self.again(&mut table, &key, name) {
                return Ok(node);
            }
            let node = table.next(None)?;
            table.insert(node, Inode::new(stat, fd), Place::NONE);
            return Ok(node);
        };
        if let Some(node) = self.again(&mut self.table.write(), &key, name) {
            return Ok(node);
        }
        let identity = identify(fd.as_fd(), stat);
        let mut table = self.table.write();
        // Another thread may have been faster.
        if let Some(node) = self.again(&mut table, &key, name) {
            return Ok(node);
        }
        let node = table.next(Some(kept))?;
        let record = Record {
            id: node,
            identity,
            references: 1,
            parent: name.0,
            name: name.1.to_vec(),
        };
        let place = kept.add(&record.write());
        table.insert(node, Inode::new(stat, fd), place);
        Ok(node)
    }

    /// Adds a reference to a node that is held, if it is.
    fn again(&self, table: &mut Table, key: &Key, (parent, name): (u64, &[u8])) -> Option<u64> {
        let node = *table.keys.get(key)?;
        let known = table.nodes.get_mut(&node)?;
        known.references = known.references.saturating_add(1);
        if let Some(kept) = &self.kept {
            let bytes = changing(known.references, parent, name);
            kept.put(known.place, CHANGING, &bytes);
        }
        Some(node)
    }

    /// Whether changes are written down.
    pub(super) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// The mark that is written down for a node.
    pub(super) fn mark(&self, stat: &Stat) -> Option<u64> {
        let place = self.place(stat)?;
        let record = self.kept.as_ref()?.get(place)?;
        let mark = record.get(MARK..MARK + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(mark))
    }

    /// Writes a mark down for a node.
    pub(super) fn set_mark(&self, stat: &Stat, mark: u64) {
        if let (Some(place), Some(kept)) = (self.place(stat), &self.kept) {
            kept.put(place, MARK, &mark.to_le_bytes());
        }
    }

    fn place(&self, stat: &Stat) -> Option<Place> {
        let table = self.table.read();
        let node = table.keys.get(&(stat.dev, stat.mount, stat.ino))?;
        Some(table.nodes.get(node)?.place)
    }

    /// Notes that a node has another name now.
    pub(super) fn rename(&self, stat: &Stat, parent: u64, name: &[u8]) {
        // Under the lock for writing, as all that is written down.
        let table = self.table.write();
        let node = table.keys.get(&(stat.dev, stat.mount, stat.ino));
        if let (Some(kept), Some(known)) = (&self.kept, node.and_then(|node| table.nodes.get(node)))
        {
            let bytes = changing(known.references, parent, name);
            kept.put(known.place, CHANGING, &bytes);
        }
    }

    /// Drops references; the last one closes the descriptor.
    pub(super) fn forget(&self, node: u64, count: u64) {
        let mut table = self.table.write();
        let gone = self.drop_references(&mut table, node, count);
        drop(table);
        // To close the last descriptor of a file that was removed takes the kernel a
        // while: outside the lock.
        drop(gone);
    }

    /// Drops references; the node when it was the last one.
    fn drop_references(&self, table: &mut Table, node: u64, count: u64) -> Option<Node> {
        let Slot::Occupied(mut slot) = table.nodes.entry(node) else {
            return None;
        };
        let node = slot.get_mut();
        node.references = node.references.saturating_sub(count);
        if node.references > 0 {
            if let Some(kept) = &self.kept {
                kept.put(node.place, CHANGING, &node.references.to_le_bytes());
            }
            return None;
        }
        let node = slot.remove();
        table.keys.remove(&node.inode.key());
        if let Some(kept) = &self.kept {
            kept.free(node.place);
        }
        Some(node)
    }

    /// Drops all references.
    pub(super) fn clear(&self) {
        let root = self.kept.as_ref().map(|kept| (kept, self.root.record()));
        let mut table = self.table.write();
        let nodes = std::mem::take(&mut table.nodes);
        table.keys = HashMap::new();
        if let Some((kept, root)) = root {
            kept.clear();
            kept.add(&root);
        }
        drop(table);
        // Descriptors are closed outside the lock.
        drop(nodes);
    }

    /// One held node of each file system, the root's first.
    pub(super) fn of_each_device(&self) -> Vec<Arc<Inode>> {
        let table = self.table.read();
        let mut found: HashMap<u64, Arc<Inode>> = HashMap::new();
        found.insert(self.root.dev(), Arc::clone(&self.root));
        for Node { inode, .. } in table.nodes.values() {
            if matches!(inode.file_type(), libc::S_IFDIR | libc::S_IFREG) {
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
