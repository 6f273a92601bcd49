//! The host's index: from a chunk's digest to the caches that may have it.
//!
//! One file of hints, which anybody may damage: a hint leads to a record, the
//! record to bytes, and the bytes are proved. Nothing is locked for looking or
//! adding, and nothing is synced.
//! `table` is the file.

mod table;

use std::io;
use std::path::{Path, PathBuf};

use parking_lot::RwLock;

use self::table::{BUCKET, ENTRY, LARGEST, SMALLEST, Table, decode};
use super::lock::{self, Kind};
use super::place;
use crate::chunk::{Digest, DigestAlgorithm};

/// How much an index that is full grows, as a binary logarithm.
const GROWTH: u8 = 2;

/// What a chunk is looked for by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of the bytes that have this digest and length.
    pub(in crate::store) fn of(algorithm: DigestAlgorithm, len: u32, digest: &Digest) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[super::record::algorithm_id(algorithm)]);
        hasher.update(&len.to_le_bytes()).update(&digest.0);
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        Self(u64::from_le_bytes(bytes).max(1))
    }
}

/// A place where a chunk may be: the tag of a blob's key, and an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) struct Hint {
    pub(in crate::store) tag: u32,
    pub(in crate::store) index: u32,
}

/// The tag by which hints name a blob.
pub(in crate::store) fn tag(stem: &str) -> u32 {
    let mut bytes = [0; 4];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(stem.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    u32::from_le_bytes(bytes)
}

/// The index of one directory.
#[derive(Debug)]
pub(in crate::store) struct Index {
    path: PathBuf,
    table: RwLock<Table>,
}

impl Index {
    /// Opens the index; a missing or damaged one is replaced by an empty one.
    ///
    /// # Errors
    /// When it can neither be opened nor made.
    pub(in crate::store) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(place::INDEX);
        let table = RwLock::new(Table::open(&path)?);
        Ok(Self { path, table })
    }

    /// Places where a chunk may be.
    pub(in crate::store) fn find(&self, wanted: Fingerprint) -> Vec<Hint> {
        self.renew();
        let table = self.table.read();
        let bucket = table.read(table.bucket(wanted)).unwrap_or_default();
        let entries = bucket.chunks_exact(ENTRY).map(decode);
        let hits = entries.filter(|(found, _)| *found == wanted.0);
        hits.map(|(_, hint)| hint).collect()
    }

    /// Adds a hint. In a bucket that is full it takes another's place, and the
    /// index grows.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(in crate::store) fn add(&self, print: Fingerprint, hint: Hint) -> io::Result<()> {
        self.renew();
        let (full, size) = {
            let table = self.table.read();
            (table.add(print, hint)?, table.size)
        };
        if full && size < LARGEST {
            self.grow(size)?;
        }
        Ok(())
    }

    /// Bytes of the file, and entries in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::store) fn size(&self) -> io::Result<(u64, u64)> {
        let table = self.table.read();
        let mut entries = 0;
        table.each(|_, _| entries += 1)?;
        Ok((place::allocated(&table.file.metadata()?), entries))
    }

    /// Keeps the hints that `keep` likes, in a file as small as they allow.
    ///
    /// # Errors
    /// When the file cannot be read or a new one not be written.
    pub(in crate::store) fn compact(&self, keep: impl Fn(&Hint) -> bool) -> io::Result<()> {
        let mut kept = 0_u64;
        let mut size = SMALLEST;
        let table = self.table.read();
        table.each(|_, hint| kept += u64::from(keep(&hint)))?;
        // At most half full.
        while size < LARGEST && kept * 2 * (ENTRY as u64) > (BUCKET as u64) << size {
            size += 1;
        }
        drop(table);
        self.replace(size, keep)
    }

    /// Replaces a full file by a larger one.
    fn grow(&self, full: u8) -> io::Result<()> {
        self.renew();
        if self.table.read().size > full {
            return Ok(());
        }
        self.replace(full.saturating_add(GROWTH).min(LARGEST), |_| true)
    }

    /// Replaces the file by one of `size` with the hints that `keep` likes. What
    /// others add meanwhile is lost, and found again by who fetches it.
    fn replace(&self, size: u8, keep: impl Fn(&Hint) -> bool) -> io::Result<()> {
        let mut table = self.table.write();
        if !lock::try_lock(&table.file, 0..1, Kind::Exclusive)? {
            // Somebody else is at it.
            return Ok(());
        }
        let new = Table::publish(&self.path, size, true, |new| new.fill(&table, &keep))?;
        *table = new;
        Ok(())
    }

    /// Goes over to the file that replaced ours, if one did.
    fn renew(&self) {
        if !self.table.read().is_replaced() {
            return;
        }
        if let Ok(new) = Table::open(&self.path) {
            *self.table.write() = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(n: u32) -> Fingerprint {
        Fingerprint::of(DigestAlgorithm::Sha256, n, &Digest([1; 32]))
    }

    fn hint(n: u32) -> Hint {
        Hint { tag: 7, index: n }
    }

    #[test]
    fn what_was_added_is_found_by_all_while_the_index_grows() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (
            Index::open(dir.path()).unwrap(),
            Index::open(dir.path()).unwrap(),
        );
        let all = 0..20_000;
        for n in all.clone() {
            one.add(print(n), hint(n)).unwrap();
        }
        assert!(one.table.read().size > SMALLEST);
        let lost = |index: &Index| {
            let lost = all.clone().filter(|&n| index.find(print(n)) != [hint(n)]);
            lost.count()
        };
        // What overflowed before the index grew took a few places.
        assert!(lost(&one) < 8, "{}", lost(&one));
        assert_eq!(lost(&two), lost(&one));
        assert_eq!(one.find(print(20_001)), []);
        let later = Index::open(dir.path()).unwrap();
        assert_eq!(lost(&later), lost(&one));
    }

    #[test]
    fn a_chunk_may_be_in_many_places_and_each_is_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path()).unwrap();
        for n in [1, 2, 1, 2] {
            index.add(print(0), hint(n)).unwrap();
        }
        assert_eq!(index.find(print(0)), [hint(1), hint(2)]);
    }

    #[test]
    fn algorithm_length_and_digest_make_the_key() {
        let digest = Digest([1; 32]);
        let one = Fingerprint::of(DigestAlgorithm::Sha256, 5, &digest);
        for other in [
            Fingerprint::of(DigestAlgorithm::Blake3, 5, &digest),
            Fingerprint::of(DigestAlgorithm::Sha256, 6, &digest),
            Fingerprint::of(DigestAlgorithm::Sha256, 5, &Digest([2; 32])),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_damaged_index_is_replaced_by_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(place::INDEX);
        for damage in [
            &b""[..],
            &[0xff; 5000],
            b"TGINDEX1\xff\0",
            b"TGINDEX1\x04\0",
        ] {
            std::fs::write(&path, damage).unwrap();
            let index = Index::open(dir.path()).unwrap();
            let _ = index.add(print(1), hint(1));
            assert!(index.find(print(1)).len() <= 1);
            assert_eq!(index.find(print(2)), []);
        }
    }

    #[test]
    fn compacting_keeps_what_is_wanted_and_shrinks() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path()).unwrap();
        (0..20_000).for_each(|n| index.add(print(n), hint(n)).unwrap());
        let (before, _) = index.size().unwrap();
        index.compact(|hint| hint.index < 100).unwrap();
        let (after, entries) = index.size().unwrap();
        assert!(
            after < before && entries <= 100,
            "{before} {after} {entries}"
        );
        assert_eq!(index.find(print(5)), [hint(5)]);
        assert_eq!(index.find(print(5000)), []);
    }
}
