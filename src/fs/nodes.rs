//! The nodes that a guest holds: what it looked up and did not forget.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use parking_lot::RwLock;

use crate::image::NodeRef;

/// Node id of the root, fixed by FUSE.
pub(super) const ROOT: u64 = 1;

/// A node that a guest holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// The node.
    pub(super) node: NodeRef,
    /// Node id of the directory it was first found in.
    pub(super) parent: u64,
    references: u64,
}

#[cfg(test)]
impl Held {
    pub(super) fn new(node: NodeRef, parent: u64) -> Self {
        Self {
            node,
            parent,
            references: 1,
        }
    }
}

/// The table of held nodes by node id. A node's id is its number in the image,
/// but for the root's; so the table has at most one entry per inode, however
/// often a guest looks it up.
#[derive(Debug)]
pub(super) struct Nodes {
    root: NodeRef,
    held: RwLock<HashMap<u64, Held>>,
}

impl Nodes {
    /// A table in which only the root is held.
    pub(super) fn new(root: NodeRef) -> Self {
        Self {
            root,
            held: RwLock::default(),
        }
    }

    /// The node id of a node; none for a number that FUSE keeps for itself.
    pub(super) fn id(&self, node: &NodeRef) -> Option<u64> {
        match node.nid {
            nid if nid == self.root.nid => Some(ROOT),
            0 | ROOT => None,
            nid => Some(nid),
        }
    }

    /// What stands behind a node id.
    pub(super) fn get(&self, id: u64) -> Option<Held> {
        if id == ROOT {
            return Some(Held {
                node: self.root,
                parent: ROOT,
                references: 0,
            });
        }
        self.held.read().get(&id).copied()
    }

    /// Adds a reference to `node`, which stands in `parent`. False when another
    /// node has the id (an image that changed while it was served), or when it
    /// is a directory that is held from elsewhere: a hostile image could lead
    /// in circles.
    pub(super) fn hold(&self, id: u64, node: NodeRef, parent: u64, is_directory: bool) -> bool {
        if id == ROOT {
            return false;
        }
        match self.held.write().entry(id) {
            Slot::Occupied(mut slot) => {
                let held = slot.get_mut();
                held.references = held.references.saturating_add(1);
                held.node == node && (held.parent == parent || !is_directory)
            }
            Slot::Vacant(slot) => {
                slot.insert(Held {
                    node,
                    parent,
                    references: 1,
                });
                true
            }
        }
    }

    /// Drops references; the last one removes the node.
    pub(super) fn forget(&self, id: u64, count: u64) {
        if let Slot::Occupied(mut slot) = self.held.write().entry(id) {
            let left = slot.get().references.saturating_sub(count);
            slot.get_mut().references = left;
            if left == 0 {
                slot.remove();
            }
        }
    }

    /// Drops all references.
    pub(super) fn clear(&self) {
        *self.held.write() = HashMap::new();
    }

    /// Whether nothing but the root is held.
    pub(super) fn is_empty(&self) -> bool {
        self.held.read().is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.read().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(nid: u64) -> NodeRef {
        NodeRef { nid, proof: None }
    }

    #[test]
    fn the_last_forget_removes_a_node() {
        let nodes = Nodes::new(node(128));
        assert_eq!(nodes.id(&node(128)), Some(ROOT));
        assert!(nodes.hold(200, node(200), ROOT, false));
        assert!(nodes.hold(200, node(200), ROOT, false));
        nodes.forget(200, 1);
        assert!(nodes.get(200).is_some());
        nodes.forget(200, u64::MAX);
        assert!(nodes.get(200).is_none());
        nodes.forget(77, 1);
        nodes.forget(ROOT, 1);
        assert!(nodes.get(ROOT).is_some());
        assert_eq!(nodes.len(), 0);
    }

    #[test]
    fn another_node_under_a_held_id_is_noticed() {
        let nodes = Nodes::new(node(128));
        let proof = crate::image::model::NodeProof {
            digest: Default::default(),
            record: 0,
        };
        assert!(nodes.hold(200, node(200), ROOT, false));
        assert!(!nodes.hold(
            200,
            NodeRef {
                nid: 200,
                proof: Some(proof)
            },
            ROOT,
            false
        ));
    }

    #[test]
    fn a_directory_stands_in_one_place() {
        let nodes = Nodes::new(node(128));
        assert!(nodes.hold(200, node(200), ROOT, true));
        assert!(nodes.hold(200, node(200), ROOT, true));
        assert!(nodes.hold(300, node(300), 200, true));
        for parent in [200, 300] {
            assert!(!nodes.hold(200, node(200), parent, true));
            assert!(!nodes.hold(ROOT, node(128), parent, true));
        }
        assert!(nodes.hold(400, node(400), 200, false));
        assert!(
            nodes.hold(400, node(400), 300, false),
            "a file has many names"
        );
    }
}
