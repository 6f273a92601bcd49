//! The table of nodes that are held: who holds what, and which ids are left.

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;

use super::inode::{Inode, Key};
use super::keep::{Record, STEP};
use crate::fs::Errno;
use crate::state::{Serial, Slot as Place, Slots};

/// Node ids have 40 bits, which is what the tree of mounts leaves.
const LAST: u64 = (1 << 40) - 1;

/// A node with what is held of it.
pub(super) struct Node {
    pub(super) inode: Arc<Inode>,
    /// References of the guest, and where they are written down.
    pub(super) references: u64,
    pub(super) place: Place,
    /// References of the tree of mounts.
    pub(super) own: u64,
}

/// All nodes that are held, but the root.
#[derive(Default)]
pub(super) struct Table {
    /// By id.
    pub(super) nodes: HashMap<u64, Node>,
    /// Their ids.
    pub(super) keys: HashMap<Key, u64>,
    /// Gives new ones.
    pub(super) ids: Serial,
    /// How many nodes the guest holds.
    pub(super) held: usize,
}

impl Table {
    /// An id that no node had.
    pub(super) fn next(&mut self, kept: Option<&Slots>) -> Result<u64, Errno> {
        let node = self.ids.next(kept, STEP);
        node.filter(|&node| node <= LAST).ok_or(Errno::EIO)
    }

    /// The node with an id, if it is held.
    pub(super) fn get(&self, id: u64) -> Option<&Arc<Inode>> {
        self.nodes.get(&id).map(|node| &node.inode)
    }

    /// Adds a node that nobody holds yet.
    pub(super) fn insert(&mut self, id: u64, inode: Inode) -> &mut Node {
        self.keys.insert(inode.key(), id);
        let node = Node {
            inode: Arc::new(inode),
            references: 0,
            place: Place::NONE,
            own: 0,
        };
        self.nodes.entry(id).insert(node).into_mut()
    }

    /// Adds a node that the guest holds since before this daemon.
    pub(super) fn recover(&mut self, record: &Record, inode: Inode, place: Place) {
        let node = self.insert(record.id, inode);
        (node.references, node.place) = (record.references, place);
        self.held += 1;
    }

    /// Removes a node if nobody holds it any more.
    pub(super) fn sweep(&mut self, id: u64) -> Option<Node> {
        let Slot::Occupied(slot) = self.nodes.entry(id) else {
            return None;
        };
        if (slot.get().references, slot.get().own) != (0, 0) {
            return None;
        }
        let gone = slot.remove();
        self.keys.remove(&gone.inode.key());
        Some(gone)
    }
}
