//! The files of a blob in the cache directory.
//!
//! * `.data`: the blob's uncompressed layout, sparse; a chunk lies at its
//!   `offset`.
//! * `.map`: one byte per chunk, 1 where the chunk was written; behind them two
//!   bytes per chunk, the epoch of its last use. Bytes, not bits: processes that
//!   share the cache set theirs with one `pwrite` and never lose another's.
//! * `.meta`: the tables that lie in the blob itself, as they came, if chunks
//!   cannot be found without; behind them a BLAKE3 sum with the blob's key, which
//!   tells torn files and proves nothing.
//! * `.table`: one [`Record`] per chunk, and so as long as there are chunks.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::extents;
use super::lock::{self, Kind};
use super::place::{self, DATA, MAP, META, TABLE};
use super::record::{self, Record};
use crate::chunk::{Chunk, DigestAlgorithm};

/// What a byte of the map says of a chunk that is there.
pub(in crate::store) const RESIDENT: u8 = 1;

/// Chunks that are looked at at once.
pub(in crate::store) const BATCH: u32 = 8192;

/// Bytes of the sum behind the blob's tables.
const SUM: usize = 32;

/// How often the files are opened anew because somebody removed them meanwhile.
const TRIES: usize = 8;

/// Bytes of the map for each chunk: whether it is there, and its last use.
const MAP_PER_CHUNK: u64 = 3;

/// A blob's files.
#[derive(Debug)]
pub(in crate::store) struct BlobFiles {
    pub(in crate::store) stem: String,
    pub(in crate::store) data: File,
    pub(in crate::store) map: File,
    pub(in crate::store) table: File,
    dir: PathBuf,
    chunks: u32,
}

impl BlobFiles {
    /// Opens or makes the files of a blob of `chunks` chunks that takes `size`
    /// bytes uncompressed, for use: until they are closed nobody removes them.
    /// They have their full length from the start: XFS would set space aside
    /// behind the end of a file that grows.
    ///
    /// # Errors
    /// When they cannot be opened, or are being removed all the time.
    pub(in crate::store) fn open(
        dir: &Path,
        stem: String,
        chunks: u32,
        size: u64,
    ) -> io::Result<Self> {
        let path = |ending| place::blob_path(dir, &stem, ending);
        for _ in 0..TRIES {
            let map = place::open_shared(&path(MAP))?;
            if !lock::lock_soon(&map, lock::in_use(), Kind::Shared)? {
                continue;
            }
            // Locked, but perhaps after it was removed.
            if !is_at(&map, &path(MAP))? {
                continue;
            }
            let data = place::open_shared(&path(DATA))?;
            let table = place::open_shared(&path(TABLE))?;
            let len = u64::from(chunks).saturating_mul(record::LEN as u64);
            if table.metadata()?.len() != len {
                table.set_len(len)?;
            }
            grow(&map, u64::from(chunks).saturating_mul(MAP_PER_CHUNK));
            grow(&data, size);
            return Ok(Self {
                stem,
                data,
                map,
                table,
                dir: dir.to_owned(),
                chunks,
            });
        }
        let text = format!("{} is being removed", path(MAP).display());
        Err(io::Error::new(io::ErrorKind::WouldBlock, text))
    }

    /// Opens files that are there, to look at them or to free space. The number
    /// of chunks is what the table has room for.
    ///
    /// # Errors
    /// When one of them is missing or cannot be opened.
    pub(in crate::store) fn existing(dir: &Path, stem: &str) -> io::Result<Self> {
        let open = |ending| place::open_existing(&place::blob_path(dir, stem, ending));
        let table = open(TABLE)?;
        let chunks = table.metadata()?.len() / (record::LEN as u64);
        Ok(Self {
            stem: stem.to_owned(),
            data: open(DATA)?,
            map: open(MAP)?,
            table,
            dir: dir.to_owned(),
            chunks: u32::try_from(chunks).unwrap_or(u32::MAX),
        })
    }

    /// Number of chunks.
    pub(in crate::store) fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Runs of at most [`BATCH`] chunks outside of which the map has nothing.
    pub(in crate::store) fn runs(&self) -> Vec<Range<u32>> {
        let mut runs = vec![];
        for part in extents::of(&self.map, 0..self.chunks.into()) {
            let bound = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
            let (mut at, end) = (bound(part.start), bound(part.end));
            while at < end {
                let next = at.saturating_add(BATCH).min(end);
                runs.push(at..next);
                at = next;
            }
        }
        runs
    }

    /// Which of a run of chunks are there, as the map says.
    pub(in crate::store) fn resident(&self, run: Range<u32>) -> Vec<bool> {
        let bytes = read_what_is_there(&self.map, run.start.into(), run.len());
        bytes.into_iter().map(|byte| byte == RESIDENT).collect()
    }

    /// Says of a run of chunks that they are there or not.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub(in crate::store) fn mark(&self, run: Range<u32>, resident: bool) -> io::Result<()> {
        let byte = if resident { RESIDENT } else { 0 };
        self.map
            .write_all_at(&vec![byte; run.len()], run.start.into())
    }

    /// The epochs in which a run of chunks was used last.
    pub(in crate::store) fn epochs(&self, run: Range<u32>) -> Vec<u16> {
        let bytes = read_what_is_there(&self.map, self.epoch_at(run.start), run.len() * 2);
        let (pairs, _) = bytes.as_chunks();
        pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
    }

    /// Notes that a run of chunks was used in `epoch`.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub(in crate::store) fn used(&self, run: Range<u32>, epoch: u16) -> io::Result<()> {
        let bytes = epoch.to_le_bytes().repeat(run.len());
        self.map.write_all_at(&bytes, self.epoch_at(run.start))
    }

    /// The raw records of a run of chunks, each of [`record::LEN`] bytes.
    pub(in crate::store) fn raw_records(&self, run: Range<u32>) -> Vec<u8> {
        let at = record_at(run.start);
        read_what_is_there(&self.table, at, run.len() * record::LEN)
    }

    /// The record of a chunk, if there is a good one.
    pub(in crate::store) fn record(&self, index: u32) -> Option<Record> {
        let bytes = self.raw_records(index..index.checked_add(1)?);
        Record::decode(&self.stem, index, &bytes)
    }

    /// The offset of chunk `index` if it is there and has the digest and length
    /// of `chunk`, as record and map say.
    pub(in crate::store) fn has(
        &self,
        index: u32,
        algorithm: DigestAlgorithm,
        chunk: &Chunk,
    ) -> Option<u64> {
        let record = self.record(index)?;
        let wanted = Record {
            offset: record.offset,
            ..Record::of(algorithm, chunk)
        };
        let there = self.resident(index..index.checked_add(1)?) == [true];
        (there && record == wanted).then_some(record.offset)
    }

    /// Writes the record of a chunk.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub(in crate::store) fn put_record(&self, index: u32, record: &Record) -> io::Result<()> {
        let bytes = record.encode(&self.stem, index);
        self.table.write_all_at(&bytes, record_at(index))
    }

    /// The tables that lie in the blob, `len` bytes, if they were kept whole.
    pub(in crate::store) fn tables(&self, len: usize) -> Option<Vec<u8>> {
        let file = place::open_existing(&self.meta_path()).ok()?;
        let mut bytes = vec![0; len.checked_add(SUM)?];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let sum = bytes.split_off(len);
        (sum == self.sum(&bytes)).then_some(bytes)
    }

    /// Keeps the tables that lie in the blob.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(in crate::store) fn put_tables(&self, bytes: &[u8]) -> io::Result<()> {
        let file = place::open_shared(&self.meta_path())?;
        let all = [bytes, &self.sum(bytes)].concat();
        // Who writes at the same time writes the same.
        file.write_all_at(&all, 0)
    }

    fn meta_path(&self) -> PathBuf {
        place::blob_path(&self.dir, &self.stem, META)
    }

    fn sum(&self, bytes: &[u8]) -> [u8; SUM] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.stem.as_bytes());
        *hasher.update(bytes).finalize().as_bytes()
    }

    /// Bytes that the data file takes on the disk.
    ///
    /// # Errors
    /// When the file system does not say.
    pub(in crate::store) fn allocated(&self) -> io::Result<u64> {
        self.data.metadata().map(|meta| place::allocated(&meta))
    }

    /// Removes the blob's files, if nobody uses them. True: they are gone.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub(in crate::store) fn remove(&self, dir: &Path) -> io::Result<bool> {
        if !lock::try_lock(&self.map, lock::in_use(), Kind::Exclusive)? {
            return Ok(false);
        }
        if !is_at(&self.map, &place::blob_path(dir, &self.stem, MAP))? {
            return Ok(false);
        }
        // Killed on the way, this leaves an empty blob and never one whose map
        // speaks of another data file.
        self.map.set_len(0)?;
        for ending in [META, DATA, TABLE, MAP] {
            match std::fs::remove_file(place::blob_path(dir, &self.stem, ending)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(true)
    }

    /// Where the epoch of a chunk's last use lies in the map.
    fn epoch_at(&self, index: u32) -> u64 {
        u64::from(self.chunks) + 2 * u64::from(index)
    }
}

/// Makes a file `len` bytes long if it is shorter. Where that cannot be, it
/// grows as it is written.
fn grow(file: &File, len: u64) {
    if file.metadata().is_ok_and(|meta| meta.len() < len) {
        let _ = file.set_len(len);
    }
}

/// Whether the open file is the one that the path leads to.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let here = file.metadata()?;
    let there = std::fs::symlink_metadata(path);
    Ok(there.is_ok_and(|there| there.ino() == here.ino() && there.dev() == here.dev()))
}

fn record_at(index: u32) -> u64 {
    u64::from(index) * (record::LEN as u64)
}

/// `len` bytes from `at`; zeros for what is missing or cannot be read.
fn read_what_is_there(file: &File, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let offset = u64::try_from(done).unwrap_or(u64::MAX);
        match file.read_at(rest, at.saturating_add(offset)) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    bytes
}
