//! The host's index: from a chunk's digest to the caches that may have it.
//!
//! One file of hints, which anybody may damage: a hint leads to a record, the
//! record to bytes, and the bytes are proved. Nothing is locked for looking or
//! adding, and nothing is synced.
//!
//! The first 4096 bytes are the header: `TGINDEX1`, the binary logarithm of the
//! number of buckets (1 byte). Behind it lie buckets of 4096 bytes, each 256 entries of 16 bytes,
//! little-endian: 8 bytes of BLAKE3 over (algorithm, length, digest), 4 of BLAKE3
//! over the blob's key, the chunk's index (4). A fingerprint of 0 is no entry.
//! The fingerprint's last bits say in which bucket it is looked for.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use parking_lot::RwLock;

use super::lock::{self, Kind};
use super::place;
use crate::chunk::{Digest, DigestAlgorithm};

const MAGIC: &[u8; 8] = b"TGINDEX1";

/// Bytes of the header and of each bucket.
const BUCKET: usize = 4096;
const ENTRY: usize = 16;

/// Buckets of a new index and of the largest one, as binary logarithms: 64 KiB
/// and 256 MiB, which is 16 million chunks.
const SMALLEST: u8 = 4;
const LARGEST: u8 = 16;

/// How much an index that is full grows, as a binary logarithm.
const GROWTH: u8 = 2;

/// Where the number of buckets lies in the header.
const SIZE_AT: usize = 8;

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

/// One version of the index's file.
#[derive(Debug)]
struct Table {
    file: File,
    size: u8,
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

impl Table {
    fn open(path: &Path) -> io::Result<Self> {
        if let Ok(table) = Self::existing(path) {
            return Ok(table);
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match Self::publish(path, SMALLEST, false, |_| Ok(())) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::existing(path),
            published => published,
        }
    }

    /// The file that is there, if it is an index.
    fn existing(path: &Path) -> io::Result<Self> {
        let file = place::open_existing(path)?;
        let mut header = [0; SIZE_AT + 1];
        file.read_exact_at(&mut header, 0)?;
        let size = header[SIZE_AT];
        let good = header.starts_with(MAGIC) && (SMALLEST..=LARGEST).contains(&size);
        if !good {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { file, size })
    }

    /// Makes a file of `size`, fills it and puts it in its place; `over` one that
    /// is there, or only if there is none.
    fn publish(
        path: &Path,
        size: u8,
        over: bool,
        fill: impl FnOnce(&Self) -> io::Result<()>,
    ) -> io::Result<Self> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new().prefix("index.").tempfile_in(dir)?;
        let mut header = [0; BUCKET];
        header[..8].copy_from_slice(MAGIC);
        header[SIZE_AT] = size;
        temporary.as_file().write_all_at(&header, 0)?;
        temporary
            .as_file()
            .set_len(((1 << size) + 1) * (BUCKET as u64))?;
        let file = temporary.as_file().try_clone()?;
        let table = Self { file, size };
        fill(&table)?;
        let placed = match over {
            true => temporary.persist(path),
            false => temporary.persist_noclobber(path),
        };
        placed.map_err(|failed| failed.error)?;
        Ok(table)
    }

    /// Whether another file has taken this one's place.
    fn is_replaced(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.nlink() == 0)
    }

    /// Where the bucket of a fingerprint lies.
    fn bucket(&self, print: Fingerprint) -> u64 {
        let bucket = print.0 & ((1 << self.size) - 1);
        (bucket + 1) * (BUCKET as u64)
    }

    fn read(&self, bucket: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; BUCKET];
        self.file.read_exact_at(&mut bytes, bucket)?;
        Ok(bytes)
    }

    /// Adds a hint, unless it is there; true when its bucket was full.
    fn add(&self, print: Fingerprint, hint: Hint) -> io::Result<bool> {
        let at = self.bucket(print);
        let bucket = self.read(at)?;
        let mut free = None;
        for (slot, entry) in bucket.chunks_exact(ENTRY).map(decode).enumerate() {
            if entry == (print.0, hint) {
                return Ok(false);
            }
            if entry.0 == 0 && free.is_none() {
                free = Some(slot);
            }
        }
        let slots = BUCKET / ENTRY;
        // The fingerprint's first bits are as good as random here.
        let victim = usize::try_from(print.0 >> 40).unwrap_or(0) % slots;
        let slot = free.unwrap_or(victim);
        let mut entry = [0; ENTRY];
        entry[..8].copy_from_slice(&print.0.to_le_bytes());
        entry[8..12].copy_from_slice(&hint.tag.to_le_bytes());
        entry[12..].copy_from_slice(&hint.index.to_le_bytes());
        let at = at.saturating_add(u64::try_from(slot * ENTRY).unwrap_or(0));
        self.file.write_all_at(&entry, at)?;
        Ok(free.is_none())
    }

    /// Takes over the hints of another table that `keep` likes. Both have few
    /// buckets or share the last bits of their numbers, so each of ours is
    /// written once.
    fn fill(&self, from: &Self, keep: impl Fn(&Hint) -> bool) -> io::Result<()> {
        let common = self.size.min(from.size);
        for bucket in 0..1_u64 << self.size {
            let mut bytes = Vec::with_capacity(BUCKET);
            let first = bucket & ((1 << common) - 1);
            for other in (first..1 << from.size).step_by(1 << common) {
                let read = from.read((other + 1) * (BUCKET as u64))?;
                for entry in read.chunks_exact(ENTRY) {
                    let (print, hint) = decode(entry);
                    let ours = print & ((1 << self.size) - 1) == bucket;
                    if print != 0 && ours && keep(&hint) && bytes.len() < BUCKET {
                        bytes.extend_from_slice(entry);
                    }
                }
            }
            if !bytes.is_empty() {
                self.file
                    .write_all_at(&bytes, (bucket + 1) * (BUCKET as u64))?;
            }
        }
        Ok(())
    }

    fn each(&self, mut work: impl FnMut(Fingerprint, Hint)) -> io::Result<()> {
        for bucket in 1..=1_u64 << self.size {
            let bytes = self.read(bucket * (BUCKET as u64))?;
            for (print, hint) in bytes.chunks_exact(ENTRY).map(decode) {
                if print != 0 {
                    work(Fingerprint(print), hint);
                }
            }
        }
        Ok(())
    }
}

fn decode(entry: &[u8]) -> (u64, Hint) {
    let word = |at: usize| {
        let bytes = entry.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let print = entry
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let hint = Hint {
        tag: word(8),
        index: word(12),
    };
    (print, hint)
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
            fs::write(&path, damage).unwrap();
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
