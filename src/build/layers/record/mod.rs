//! What is kept of a converted layer beside its blob: every change that it
//! makes, and where the chunks of its files are.
//!
//! ```text
//! 0   magic, 12 bytes; version, u32
//! 16  changes: a zstd stream of frames, in the order of the archive
//! ..  tables: a zstd stream of frames
//! ..  offset and length of the tables, u64 each
//! ..  SHA-256 of all before it
//! ```
//!
//! A frame is a length (u32) and as many bytes of postcard. A record is a
//! function of the layer, the options and the chunk dicts.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::Digest as _;

use super::changes::{Change, Whiteout};
use super::error::LayerError;
use crate::build::options::BuildOptions;
use crate::build::pack::PackedBlob;
use crate::chunk::{CHUNK_SIZE_RANGE, Chunk, Digest};

mod frames;
mod rows;
mod writer;

use frames::{FrameReader, Section};
use rows::{Head, Table};

pub(super) use writer::RecordWriter;

/// Version of the form of a record, and of what a layer is converted to.
pub(super) const VERSION: u32 = 1;

const MAGIC: &[u8; 12] = b"TIDEGATE LYR";

/// Bytes before the changes.
const START: usize = 16;

/// Bytes behind the tables.
const TRAILER: usize = 48;

/// Bytes of the digest at the end.
const DIGEST: u64 = 32;

/// Alignment of chunks in the uncompressed layout, in bytes.
const ALIGN: u64 = 4096;

/// Most chunks of a layer, with those of the dict blobs that it uses.
const CHUNKS_MAX: usize = 1 << 28;

/// A converted layer: an open record.
#[derive(Debug)]
pub struct LayerImage {
    file: Arc<File>,
    len: u64,
    path: PathBuf,
    /// Where the tables begin.
    tables: u64,
    head: Head,
    pub(super) whiteouts: Vec<Whiteout>,
    pub(super) blobs: Vec<PackedBlob>,
    /// All chunks of all blobs, by blob and index.
    pub(super) chunks: Vec<Chunk>,
    /// Positions in `chunks` that files refer to.
    pub(super) references: Vec<u32>,
}

impl LayerImage {
    /// Opens the record at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is damaged or of another version.
    pub fn open(path: &Path) -> Result<Self, LayerError> {
        let file = File::open(path).map_err(|source| LayerError::Io {
            action: "open layer record",
            path: path.to_owned(),
            source,
        })?;
        Self::from_file(file, path)
    }

    /// Opens a record that is in `file`; messages call it `path`.
    ///
    /// # Errors
    /// As [`LayerImage::open`].
    pub fn from_file(file: File, path: &Path) -> Result<Self, LayerError> {
        let failed = |source| LayerError::Io {
            action: "read layer record",
            path: path.to_owned(),
            source,
        };
        let bad = |reason: &str| LayerError::Record {
            path: path.to_owned(),
            reason: reason.into(),
        };
        let len = file.metadata().map_err(failed)?.len();
        let (start_len, trailer_len) = (START as u64, TRAILER as u64);
        if len < start_len + trailer_len {
            return Err(bad("it is cut off"));
        }
        let mut start = [0; START];
        file.read_exact_at(&mut start, 0).map_err(failed)?;
        let version = start.strip_prefix(MAGIC).ok_or_else(|| bad("it is none"))?;
        if version != VERSION.to_le_bytes() {
            return Err(bad("it is of another version"));
        }
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, len - trailer_len)
            .map_err(failed)?;
        let file = Arc::new(file);
        let mut state = sha2::Sha256::new();
        let mut whole = Section::new(&file, 0, len - DIGEST);
        std::io::copy(&mut whole, &mut state).map_err(failed)?;
        let (places, digest) = trailer.split_at(16);
        if state.finalize().as_slice() != digest {
            return Err(bad("its digest is wrong"));
        }
        let (offset, size) = places.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        let (tables, size) = (number(offset), number(size));
        if tables < start_len || tables.checked_add(size) != Some(len - trailer_len) {
            return Err(bad("its tables are elsewhere"));
        }
        let mut image = Self {
            file,
            len,
            path: path.to_owned(),
            tables,
            head: Head::default(),
            whiteouts: Vec::new(),
            blobs: Vec::new(),
            chunks: Vec::new(),
            references: Vec::new(),
        };
        image.read_tables().map_err(|reason| bad(&reason))?;
        Ok(image)
    }

    /// SHA-256 of the layer as it is stored.
    pub fn layer(&self) -> Digest {
        Digest(self.head.layer)
    }

    /// Entries of the layer, whiteouts included.
    pub fn entries(&self) -> u64 {
        self.head.entries
    }

    /// The blobs that hold the layer's chunks: its own, then those of chunk
    /// dicts. A layer without data has none.
    pub fn blobs(&self) -> &[PackedBlob] {
        &self.blobs
    }

    /// All chunks of those blobs, by blob and index.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The record's file and its length, for whoever keeps it elsewhere.
    pub fn file(&self) -> (&File, u64) {
        (&self.file, self.len)
    }

    /// Whether the layer was converted with these options: the first word says
    /// how it was, the second how it should have been.
    pub(super) fn check(&self, options: &BuildOptions) -> Result<(), (String, String)> {
        let wanted = Head::new(Digest(self.head.layer), options);
        let ours = (self.head.chunk_size, self.head.algorithm);
        if ours == (wanted.chunk_size, wanted.algorithm) {
            Ok(())
        } else {
            Err((self.head.describe(), wanted.describe()))
        }
    }

    /// Calls `each` with every change, in order.
    pub(super) fn changes(
        &self,
        mut each: impl FnMut(Change<'_>) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        let bad = |reason| LayerError::Record {
            path: self.path.clone(),
            reason,
        };
        let section = Section::new(&self.file, START as u64, self.tables - START as u64);
        let mut frames = FrameReader::new(section).map_err(bad)?;
        while let Some(frame) = frames.next().map_err(bad)? {
            let change = postcard::from_bytes(frame);
            each(change.map_err(|error| bad(error.to_string()))?)?;
        }
        Ok(())
    }

    /// An error that says what is wrong with the record.
    pub(super) fn bad(&self, reason: &str) -> LayerError {
        LayerError::Record {
            path: self.path.clone(),
            reason: reason.into(),
        }
    }

    fn read_tables(&mut self) -> Result<(), String> {
        let section = Section::new(
            &self.file,
            self.tables,
            self.len - TRAILER as u64 - self.tables,
        );
        let mut frames = FrameReader::new(section)?;
        let mut headed = false;
        while let Some(frame) = frames.next()? {
            let table = postcard::from_bytes(frame).map_err(|error| error.to_string())?;
            match table {
                Table::Head(head) => {
                    self.head = head;
                    headed = true;
                }
                Table::Blob(row) => self.blobs.push(row.read()?),
                Table::Whiteouts(rows) => self.whiteouts.extend(rows),
                Table::Chunks(rows) => {
                    for row in rows {
                        self.add_chunk(&row)?;
                    }
                }
                Table::References(numbers) => self.references.extend(numbers),
            }
            if self.chunks.len() > CHUNKS_MAX || self.references.len() > CHUNKS_MAX {
                return Err("it has too many chunks".into());
            }
        }
        let told: u64 = self.blobs.iter().map(|blob| u64::from(blob.chunks)).sum();
        if !headed || told != self.chunks.len() as u64 {
            return Err("its tables are incomplete".into());
        }
        let chunks = self.chunks.len();
        let known = |&at: &u32| usize::try_from(at).is_ok_and(|at| at < chunks);
        if self.references.iter().all(known) {
            Ok(())
        } else {
            Err("a file has an unknown chunk".into())
        }
    }

    /// Takes the next chunk, which must be the next one of its blob.
    fn add_chunk(&mut self, row: &rows::ChunkRow) -> Result<(), String> {
        let wrong = || String::from("its chunks are not in order");
        let (blob, index) = match self.chunks.last() {
            None => (0, 0),
            Some(last) => (last.blob, last.index + 1),
        };
        let at = |blob: u16| self.blobs.get(usize::from(blob)).ok_or_else(wrong);
        let (blob, index) = if index < at(blob)?.chunks {
            (blob, index)
        } else {
            (blob.checked_add(1).ok_or_else(wrong)?, 0)
        };
        if at(blob)?.chunks == 0 {
            return Err(wrong());
        }
        let chunk = row.read(blob, index);
        if !(1..=*CHUNK_SIZE_RANGE.end()).contains(&chunk.len)
            || !chunk.offset.is_multiple_of(ALIGN)
        {
            return Err(wrong());
        }
        self.chunks.push(chunk);
        Ok(())
    }
}
