//! The nodes that a guest holds: what it looked up and did not forget.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Place;
use parking_lot::RwLock;

use crate::chunk::Digest;
use crate::image::NodeRef;
use crate::image::model::NodeProof;
use crate::state::{Saved, Slot, Slots};

/// Node id of the root, fixed by FUSE.
pub(super) const ROOT: u64 = 1;

/// Bytes of a node that is written down: id, references, parent, offset of its
/// record, digest, and whether these two are there.
pub(super) const RECORD: usize = 128;

/// Where the references are in it.
const REFERENCES: usize = 8;

/// A node that a guest holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// The node.
    pub(super) node: NodeRef,
    /// Node id of the directory it was first found in.
    pub(super) parent: u64,
    references: u64,
    slot: Slot,
}

#[cfg(test)]
impl Held {
    pub(super) fn new(node: NodeRef, parent: u64) -> Self {
        Self {
            node,
            parent,
            references: 1,
            slot: Slot::NONE,
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
    kept: Option<Slots>,
}

impl Nodes {
    /// A table in which only the root is held.
    pub(super) fn new(root: NodeRef) -> Self {
        Self {
            root,
            held: RwLock::default(),
            kept: None,
        }
    }

    /// Holds what is `saved`, and writes down changes from now on.
    pub(super) fn keep(&mut self, slots: Slots, saved: &Saved) {
        let mut held = HashMap::with_capacity(saved.records.len());
        for (slot, record) in &saved.records {
            match read(record, *slot) {
                Some((id, node)) => {
                    held.insert(id, node);
                }
                None => slots.free(*slot),
            }
        }
        self.held = RwLock::new(held);
        self.kept = Some(slots);
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
                slot: Slot::NONE,
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
            Place::Occupied(mut slot) => {
                let held = slot.get_mut();
                held.references = held.references.saturating_add(1);
                self.note(held);
                held.node == node && (held.parent == parent || !is_directory)
            }
            Place::Vacant(slot) => {
                let mut held = Held {
                    node,
                    parent,
                    references: 1,
                    slot: Slot::NONE,
                };
                if let Some(kept) = &self.kept {
                    held.slot = kept.add(&write(id, &held));
                }
                slot.insert(held);
                true
            }
        }
    }

    /// Drops references; the last one removes the node.
    pub(super) fn forget(&self, id: u64, count: u64) {
        if let Place::Occupied(mut slot) = self.held.write().entry(id) {
            let left = slot.get().references.saturating_sub(count);
            slot.get_mut().references = left;
            if left > 0 {
                self.note(slot.get());
                return;
            }
            let gone = slot.remove();
            if let Some(kept) = &self.kept {
                kept.free(gone.slot);
            }
        }
    }

    /// Writes down how often a node is held.
    fn note(&self, held: &Held) {
        if let Some(kept) = &self.kept {
            kept.put(held.slot, REFERENCES, &held.references.to_le_bytes());
        }
    }

    /// Drops all references.
    pub(super) fn clear(&self) {
        let mut held = self.held.write();
        *held = HashMap::new();
        if let Some(kept) = &self.kept {
            kept.clear();
        }
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

/// A node as it is written down.
fn write(id: u64, held: &Held) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let proof = held.node.proof;
    let offset = proof.map_or(0, |proof| proof.record);
    let digest = proof.map_or(Digest::default(), |proof| proof.digest);
    for (at, number) in [id, held.references, held.parent, offset]
        .into_iter()
        .enumerate()
    {
        record[8 * at..8 * at + 8].copy_from_slice(&number.to_le_bytes());
    }
    record[32..64].copy_from_slice(&digest.0);
    record[64] = u8::from(proof.is_some());
    record
}

/// The same backwards; none for what makes no sense.
fn read(record: &[u8], slot: Slot) -> Option<(u64, Held)> {
    let field = |at: usize| {
        let bytes = record.get(8 * at..8 * at + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let (id, references) = (field(0)?, field(1)?);
    let digest = Digest(record.get(32..64)?.try_into().ok()?);
    let proof = match record.get(64)? {
        0 => None,
        _ => Some(NodeProof {
            digest,
            record: field(3)?,
        }),
    };
    let held = Held {
        node: NodeRef { nid: id, proof },
        parent: field(2)?,
        references,
        slot,
    };
    (id > ROOT && references > 0).then_some((id, held))
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
    fn what_is_held_is_held_again_after_a_crash() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("nodes");
        let begin = || {
            let mut nodes = Nodes::new(node(128));
            let (slots, saved) = Slots::open(&path, RECORD).unwrap();
            nodes.keep(slots, &saved);
            nodes
        };
        let proof = NodeProof {
            digest: Digest([7; 32]),
            record: 4711,
        };
        let proved = NodeRef {
            nid: 300,
            proof: Some(proof),
        };
        let nodes = begin();
        assert!(nodes.hold(200, node(200), ROOT, true));
        assert!(nodes.hold(300, proved, 200, false));
        assert!(nodes.hold(300, proved, 200, false));
        assert!(nodes.hold(400, node(400), ROOT, false));
        nodes.forget(400, 1);
        drop(nodes);

        let nodes = begin();
        assert_eq!(nodes.len(), 2);
        let held = nodes.get(300).unwrap();
        assert_eq!((held.node, held.parent), (proved, 200));
        nodes.forget(300, 1);
        drop(nodes);
        let nodes = begin();
        assert!(nodes.get(300).is_some());
        nodes.forget(300, 1);
        assert!(nodes.get(300).is_none());
        nodes.clear();
        drop(nodes);
        assert!(begin().is_empty());
    }

    #[test]
    fn another_node_under_a_held_id_is_noticed() {
        let nodes = Nodes::new(node(128));
        let proof = NodeProof {
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
