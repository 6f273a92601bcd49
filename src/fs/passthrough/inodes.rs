//! The nodes that a guest holds, and those that the tree of mounts does.

#[cfg(test)]
mod tests;

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::descriptors::Held;
use super::host::Stat;
use super::inode::Inode;
use super::keep::{CHANGING, Identity, MARK, Record, changing};
use super::table::{Node, Table};
use crate::fs::Errno;
use crate::fs::nodes::{Holder, ROOT};
use crate::state::{Serial, Slot as Place, Slots};

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
        table.get(node).map(Arc::clone).ok_or(Errno::ESTALE)
    }

    /// Adds a reference of `holder` to the node behind `fd`, which has this name in
    /// the directory `parent`; returns its id.
    ///
    /// # Errors
    /// `EIO` when all ids were used, or none can be reserved.
    pub(super) fn enter(
        &self,
        stat: &Stat,
        fd: Held,
        name: (u64, &[u8]),
        holder: Holder,
    ) -> Result<u64, Errno> {
        self.enter_as(stat, fd, name, holder, Identity::of)
    }

    /// The same, asking `identify` for what a new node is found again by. That may
    /// take the kernel a while, so the table is not locked meanwhile.
    fn enter_as(
        &self,
        stat: &Stat,
        fd: Held,
        name: (u64, &[u8]),
        holder: Holder,
        identify: impl FnOnce(BorrowedFd<'_>, &Stat) -> Identity,
    ) -> Result<u64, Errno> {
        let key = (stat.dev, stat.mount, stat.ino);
        if key == self.root.key() {
            return Ok(ROOT);
        }
        let identity = match (&self.kept, holder) {
            (Some(_), Holder::Guest) => {
                let mut table = self.table.write();
                let known = table.keys.get(&key).copied();
                if let Some(node) = known
                    && table
                        .nodes
                        .get(&node)
                        .is_some_and(|node| node.references > 0)
                {
                    self.add(&mut table, node, holder, name, None);
                    return Ok(node);
                }
                drop(table);
                Some(identify(fd.as_fd(), stat))
            }
            _ => None,
        };
        let mut table = self.table.write();
        // Another thread may have been faster.
        let known = table.keys.get(&key).copied();
        let node = match known {
            Some(node) => node,
            None => {
                let node = table.next(self.kept.as_ref())?;
                table.insert(node, Inode::new(stat, fd));
                node
            }
        };
        self.add(&mut table, node, holder, name, identity);
        Ok(node)
    }

    /// Adds a reference to a node. The guest's first is written down with what the
    /// node is found again by, its `identity`.
    fn add(
        &self,
        table: &mut Table,
        id: u64,
        holder: Holder,
        (parent, name): (u64, &[u8]),
        identity: Option<Identity>,
    ) {
        let Some(node) = table.nodes.get_mut(&id) else {
            return;
        };
        if holder == Holder::Tree {
            node.own = node.own.saturating_add(1);
            return;
        }
        node.references = node.references.saturating_add(1);
        if node.references == 1 {
            table.held += 1;
        }
        match (&self.kept, identity) {
            (Some(kept), Some(identity)) if node.references == 1 => {
                let record = Record {
                    id,
                    identity,
                    references: 1,
                    parent,
                    name: name.to_vec(),
                };
                node.place = kept.add(&record.write());
            }
            (Some(kept), _) => {
                let bytes = changing(node.references, parent, name);
                kept.put(node.place, CHANGING, &bytes);
            }
            (None, _) => {}
        }
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

    /// Drops references of the guest; the last one of all closes the descriptor.
    pub(super) fn forget(&self, node: u64, count: u64) {
        let mut table = self.table.write();
        self.drop_references(&mut table, node, count);
        let gone = table.sweep(node);
        drop(table);
        // To close the last descriptor of a file that was removed takes the kernel a
        // while: outside the lock.
        drop(gone);
    }

    fn drop_references(&self, table: &mut Table, node: u64, count: u64) {
        let Some(node) = table
            .nodes
            .get_mut(&node)
            .filter(|node| node.references > 0)
        else {
            return;
        };
        node.references = node.references.saturating_sub(count);
        if node.references == 0 {
            table.held -= 1;
        }
        let Some(kept) = &self.kept else {
            return;
        };
        if node.references > 0 {
            kept.put(node.place, CHANGING, &node.references.to_le_bytes());
        } else {
            kept.free(std::mem::replace(&mut node.place, Place::NONE));
        }
    }

    /// Drops one reference of the tree.
    pub(super) fn let_go(&self, node: u64) {
        let mut table = self.table.write();
        if let Some(node) = table.nodes.get_mut(&node) {
            node.own = node.own.saturating_sub(1);
        }
        let gone = table.sweep(node);
        drop(table);
        drop(gone);
    }

    /// Drops all references of the guest.
    pub(super) fn clear(&self) {
        let root = self.kept.as_ref().map(|kept| (kept, self.root.record()));
        let mut table = self.table.write();
        let held = std::mem::take(&mut table.nodes);
        let (left, gone): (HashMap<_, _>, HashMap<_, _>) =
            held.into_iter().partition(|(_, node)| node.own > 0);
        table.nodes = left;
        table.held = 0;
        for node in table.nodes.values_mut() {
            (node.references, node.place) = (0, Place::NONE);
        }
        let keys = table.nodes.iter();
        table.keys = keys.map(|(&id, node)| (node.inode.key(), id)).collect();
        if let Some((kept, root)) = root {
            kept.clear();
            kept.add(&root);
        }
        drop(table);
        // Descriptors are closed outside the lock.
        drop(gone);
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

    /// Nodes that the guest holds, the root not counted.
    pub(super) fn len(&self) -> usize {
        self.table.read().held
    }
}
