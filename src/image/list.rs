//! Proves leaves of Merkle lists along the path to the list's digest.

use crate::chunk::{DIGEST_LEN, Digest};
use crate::image::bootstrap::Bootstrap;
use crate::image::error::ImageError;
use crate::image::proof::{self, FANOUT, ListHead, ListKind};
use crate::image::rafs::field;

/// A Merkle list in a bootstrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct List {
    /// What it is a list of.
    pub kind: ListKind,
    /// What is bound in at its top.
    pub head: ListHead,
    /// Its digest, proved or to be proved.
    pub digest: Digest,
    /// Where its levels start in the bootstrap.
    pub levels: u64,
}

impl List {
    /// The list's digest as its stored topmost level gives it, for a list of
    /// more than [`FANOUT`] items.
    ///
    /// # Errors
    /// When the level cannot be read.
    pub fn digest_of_stored(
        bootstrap: &Bootstrap,
        kind: ListKind,
        head: ListHead,
        levels: u64,
    ) -> Result<Digest, ImageError> {
        let top = Self::stored_top(bootstrap, kind, head, levels)?;
        Ok(proof::list_digest(kind, &head, &top))
    }

    /// The hash at the top of a list of more than [`FANOUT`] items, as the
    /// stored level below it gives it.
    ///
    /// # Errors
    /// When the level cannot be read.
    pub fn stored_top(
        bootstrap: &Bootstrap,
        kind: ListKind,
        head: ListHead,
        levels: u64,
    ) -> Result<Digest, ImageError> {
        let lengths = proof::level_lengths(head.count);
        let (last, below) = match lengths.split_last() {
            Some((last, below)) => (*last, below.iter().sum::<u64>()),
            None => (0, 0),
        };
        let at = levels.saturating_add(below.saturating_mul(DIGEST_LEN as u64));
        let mut hashes = [0; FANOUT * DIGEST_LEN];
        let len = usize::try_from(last).unwrap_or(FANOUT).min(FANOUT) * DIGEST_LEN;
        bootstrap.read_into(at, &mut hashes[..len])?;
        Ok(proof::inner_digest(kind, &hashes[..len]))
    }

    /// For each stored level, lowest first, the hashes that stand with the one
    /// on the path of leaf number `group` under one inner node, without it. Not
    /// proved.
    ///
    /// # Errors
    /// When a level cannot be read.
    pub fn siblings(
        &self,
        bootstrap: &Bootstrap,
        group: u64,
    ) -> Result<Vec<Vec<Digest>>, ImageError> {
        let (mut position, mut at) = (group, self.levels);
        let mut levels = Vec::new();
        for width in proof::level_lengths(self.head.count) {
            let own = position % FANOUT as u64;
            let start = position - own;
            let count = width.saturating_sub(start).min(FANOUT as u64);
            let offset = at.saturating_add(start.saturating_mul(DIGEST_LEN as u64));
            let len = usize::try_from(count).unwrap_or(FANOUT) * DIGEST_LEN;
            let stored = bootstrap.read(offset, len)?;
            let hashes = stored.chunks_exact(DIGEST_LEN).zip(0..);
            let others = hashes.filter(|&(_, position)| position != own);
            levels.push(others.map(|(hash, _)| Digest(field(hash, 0))).collect());
            position /= FANOUT as u64;
            at = at.saturating_add(width.saturating_mul(DIGEST_LEN as u64));
        }
        Ok(levels)
    }

    /// Proves that `leaf` is the hash of leaf number `group`.
    ///
    /// # Errors
    /// When the levels cannot be read or a hash on the path is another one.
    pub fn prove(&self, bootstrap: &Bootstrap, group: u64, leaf: Digest) -> Result<(), ImageError> {
        let (mut hash, mut position, mut at) = (leaf, group, self.levels);
        let mut hashes = [0; FANOUT * DIGEST_LEN];
        for width in proof::level_lengths(self.head.count) {
            let start = position - position % FANOUT as u64;
            let count = usize::try_from(width.saturating_sub(start))
                .unwrap_or(FANOUT)
                .min(FANOUT);
            let siblings = &mut hashes[..count * DIGEST_LEN];
            let offset = at.saturating_add(start.saturating_mul(DIGEST_LEN as u64));
            bootstrap.read_into(offset, siblings)?;
            let own = usize::try_from(position - start).unwrap_or(FANOUT) * DIGEST_LEN;
            if siblings.get(own..own + DIGEST_LEN) != Some(&hash.0[..]) {
                return Err(self.unproved(bootstrap, group));
            }
            hash = proof::inner_digest(self.kind, siblings);
            position /= FANOUT as u64;
            at = at.saturating_add(width.saturating_mul(DIGEST_LEN as u64));
        }
        if proof::list_digest(self.kind, &self.head, &hash) != self.digest {
            return Err(self.unproved(bootstrap, group));
        }
        Ok(())
    }

    fn unproved(&self, bootstrap: &Bootstrap, group: u64) -> ImageError {
        bootstrap.unproved(format!("group {group} of a list of {:?}", self.kind))
    }
}
