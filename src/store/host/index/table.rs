//! One version of the index's file.
//!
//! The first 4096 bytes are the header: `TGINDEX1`, the binary logarithm of the
//! number of buckets (1 byte). Behind it lie buckets of 4096 bytes, each 256 entries of
//! 16 bytes, little-endian: 8 bytes of BLAKE3 over (algorithm, length, digest), 4 of
//! BLAKE3 over the blob's key, the chunk's index (4). A fingerprint of 0 is no entry.
//! The fingerprint's last bits say in which bucket it is looked for.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::super::place;
use super::{Fingerprint, Hint};

const MAGIC: &[u8; 8] = b"TGINDEX1";

/// Bytes of the header and of each bucket.
pub(super) const BUCKET: usize = 4096;
pub(super) const ENTRY: usize = 16;

/// Buckets of a new index and of the largest one, as binary logarithms: 64 KiB
/// and 256 MiB, which is 16 million chunks.
pub(super) const SMALLEST: u8 = 4;
pub(super) const LARGEST: u8 = 16;

/// Where the number of buckets lies in the header.
const SIZE_AT: usize = 8;

/// One version of the index's file.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) file: File,
    /// Buckets, as a binary logarithm.
    pub(super) size: u8,
}

impl Table {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
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
    pub(super) fn publish(
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
    pub(super) fn is_replaced(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.nlink() == 0)
    }

    /// Where the bucket of a fingerprint lies.
    pub(super) fn bucket(&self, print: Fingerprint) -> u64 {
        let bucket = print.0 & ((1 << self.size) - 1);
        (bucket + 1) * (BUCKET as u64)
    }

    pub(super) fn read(&self, bucket: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; BUCKET];
        self.file.read_exact_at(&mut bytes, bucket)?;
        Ok(bytes)
    }

    /// Adds a hint, unless it is there; true when its bucket was full.
    pub(super) fn add(&self, print: Fingerprint, hint: Hint) -> io::Result<bool> {
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
    pub(super) fn fill(&self, from: &Self, keep: impl Fn(&Hint) -> bool) -> io::Result<()> {
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

    pub(super) fn each(&self, mut work: impl FnMut(Fingerprint, Hint)) -> io::Result<()> {
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

/// Fingerprint and hint of an entry.
pub(super) fn decode(entry: &[u8]) -> (u64, Hint) {
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
