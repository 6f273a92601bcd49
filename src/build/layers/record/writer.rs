//! Writes a record, its changes as they come.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use sha2::Digest as _;

use super::super::changes::{Change, Whiteout};
use super::frames;
use super::rows::{BlobRow, ChunkRow, Head, ROWS, Table};
use super::{MAGIC, VERSION};
use crate::build::options::BuildOptions;
use crate::build::pack::Packed;
use crate::chunk::Digest;

/// Level of zstd.
const LEVEL: i32 = 3;

/// A record being written.
pub(in crate::build::layers) struct RecordWriter {
    changes: zstd::Encoder<'static, Hashed>,
    whiteouts: Vec<Whiteout>,
    entries: u64,
}

impl RecordWriter {
    /// Starts a record in an empty file.
    pub(in crate::build::layers) fn new(file: File) -> io::Result<Self> {
        let mut out = Hashed {
            inner: BufWriter::with_capacity(256 << 10, file),
            state: sha2::Sha256::new(),
            len: 0,
        };
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        Ok(Self {
            changes: zstd::Encoder::new(out, LEVEL)?,
            whiteouts: Vec::new(),
            entries: 0,
        })
    }

    /// Adds a change.
    pub(in crate::build::layers) fn change(&mut self, change: &Change<'_>) -> io::Result<()> {
        self.entries += 1;
        let frame = postcard::to_allocvec(change).map_err(io::Error::other)?;
        frames::write(&mut self.changes, &frame)
    }

    /// Adds a whiteout.
    pub(in crate::build::layers) fn whiteout(&mut self, whiteout: Whiteout) {
        self.entries += 1;
        self.whiteouts.push(whiteout);
    }

    /// Ends the record of a layer; `references` are the chunks of its files by
    /// their position in `packed`.
    pub(in crate::build::layers) fn finish(
        self,
        layer: Digest,
        options: &BuildOptions,
        packed: &Packed,
        references: &[u32],
    ) -> io::Result<File> {
        let out = self.changes.finish()?;
        let start = out.len;
        let mut tables = zstd::Encoder::new(out, LEVEL)?;
        let mut put = |table: &Table| {
            let frame = postcard::to_allocvec(table).map_err(io::Error::other)?;
            frames::write(&mut tables, &frame)
        };
        put(&Table::Head(Head {
            entries: self.entries,
            ..Head::new(layer, options)
        }))?;
        for blob in &packed.blobs {
            put(&Table::Blob(BlobRow::new(blob)))?;
        }
        for part in self.whiteouts.chunks(ROWS) {
            put(&Table::Whiteouts(part.to_vec()))?;
        }
        for part in packed.chunks.chunks(ROWS) {
            put(&Table::Chunks(part.iter().map(ChunkRow::new).collect()))?;
        }
        for part in references.chunks(ROWS) {
            put(&Table::References(part.to_vec()))?;
        }
        let mut out = tables.finish()?;
        let len = out.len - start;
        out.write_all(&start.to_le_bytes())?;
        out.write_all(&len.to_le_bytes())?;
        let digest = out.state.clone().finalize();
        out.write_all(&digest)?;
        out.inner
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
    }
}

/// Hashes and counts what is written.
struct Hashed {
    inner: BufWriter<File>,
    state: sha2::Sha256,
    len: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.inner.write(bytes)?;
        self.state.update(bytes.get(..done).unwrap_or_default());
        self.len += done as u64;
        Ok(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
