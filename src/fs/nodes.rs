//! The nodes that a guest holds: what it looked up and did not forget.

#[cfg(test)]
mod tests;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Place;
use parking_lot::RwLock;

use crate::chunk::Digest;
use crate::image::NodeRef;
use crate::image::model::NodeProof;
use crate::state::{Saved, Slot, Slots};

/// Node id of the root, fixed by FUSE.
pub(super) const ROOT: u64 = 1;

/// Who holds a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holder {
    /// The guest, until it forgets it or begins anew. That is written down where
    /// state is kept.
    Guest,
    /// The tree of mounts, for what is mounted below it.
    Tree,
}

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
    /// References of the guest.
    references: u64,
    /// References of the tree.
    own: u64,
    slot: Slot,
}

#[cfg(test)]
impl Held {
    pub(super) fn new(node: NodeRef, parent: u64) -> Self {
        Self {
            node,
            parent,
            references: 1,
            own: 0,
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
                own: 0,
                slot: Slot::NONE,
            });
        }
        self.held.read().get(&id).copied()
    }

    /// Adds a reference to `node`, which stands in `parent`. False when another
    /// node has the id (an image that changed while it was served), or when it
    /// is a directory that is held from elsewhere: a hostile image could lead
    /// in circles.
    pub(super) fn hold(
        &self,
        id: u64,
        (node, parent): (NodeRef, u64),
        is_directory: bool,
        holder: Holder,
    ) -> bool {
        if id == ROOT {
            return false;
        }
        let mut table = self.held.write();
        let held = table.entry(id).or_insert(Held {
            node,
            parent,
            references: 0,
            own: 0,
            slot: Slot::NONE,
        });
        match holder {
            Holder::Tree => held.own = held.own.saturating_add(1),
            Holder::Guest => {
                held.references = held.references.saturating_add(1);
                match &self.kept {
                    Some(kept) if held.references == 1 => held.slot = kept.add(&write(id, held)),
                    _ => self.note(held),
                }
            }
        }
        held.node == node && (held.parent == parent || !is_directory)
    }

    /// Drops references; the last one removes the node.
    pub(super) fn forget(&self, id: u64, count: u64, holder: Holder) {
        let mut table = self.held.write();
        let Place::Occupied(mut slot) = table.entry(id) else {
            return;
        };
        let held = slot.get_mut();
        match holder {
            Holder::Tree => held.own = held.own.saturating_sub(count),
            Holder::Guest => {
                held.references = held.references.saturating_sub(count);
                match &self.kept {
                    Some(kept) if held.references == 0 => {
                        kept.free(held.slot);
                        held.slot = Slot::NONE;
                    }
                    _ => self.note(held),
                }
            }
        }
        if (held.references, held.own) == (0, 0) {
            slot.remove();
        }
    }

    /// Writes down how often a node is held.
    fn note(&self, held: &Held) {
        if let Some(kept) = &self.kept {
            kept.put(held.slot, REFERENCES, &held.references.to_le_bytes());
        }
    }

    /// Drops all references of the guest.
    pub(super) fn clear(&self) {
        let mut table = self.held.write();
        table.retain(|_, held| {
            (held.references, held.slot) = (0, Slot::NONE);
            held.own > 0
        });
        table.shrink_to_fit();
        if let Some(kept) = &self.kept {
            kept.clear();
        }
    }

    /// Whether the guest holds nothing but the root.
    pub(super) fn is_empty(&self) -> bool {
        self.held.read().values().all(|held| held.references == 0)
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
        own: 0,
        slot,
    };
    (id > ROOT && references > 0).then_some((id, held))
}
