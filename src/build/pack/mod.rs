//! Cuts files into chunks and writes the blobs.
//!
//! ```text
//! plan ─► workers: read ─► digest ─► dict? seen? ─► compress ─► writer ─► sink
//!    (batches in build order)                      (build order again)
//! ```
//!
//! * `plan`: files in build order, handed out in numbered batches.
//! * [`ChunkStream`]: chunks that come one after the other, in place of files.
//! * `worker`, `read`, `compress`, `claims`: what the threads do.
//! * `writer`: takes the batches in order and decides which copy is stored,
//!   so that the output does not depend on timing.
//! * `blob`, `sink`: the layout of a blob, and its file.
//! * [`Dict`]: chunks that other images have.

use std::io;
use std::path::{Path, PathBuf};

use super::options::{BuildOptions, OptionsError};
use super::source::SourceError;
use super::tree::{Content, NodeIndex, Tree};
use crate::chunk::{Chunk, Compressor, Digest, DigestAlgorithm};
use crate::image::hints::ChunkRun;

mod blob;
mod claims;
mod compress;
mod dict;
mod plan;
mod read;
mod sink;
mod stream;
mod worker;
mod writer;

use blob::Limits;
use claims::Claims;
use plan::Plan;
use stream::StreamFeed;
use worker::{Batch, Shared};
use writer::Writer;

pub(in crate::build) use plan::CHUNKS_MAX;

pub use dict::{ChunkDict, Dict, DictChunk, NoDict};
pub(super) use sink::Sink;
pub use stream::ChunkStream;

/// What [`pack`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The own blobs, then those of the dictionary in the order of their first
    /// use. A chunk's blob index is the position here.
    pub blobs: Vec<PackedBlob>,
    /// All chunks of all those blobs, by blob and index.
    pub chunks: Vec<Chunk>,
    /// The chunks that were to come first, in their order.
    pub leading: Vec<ChunkRun>,
    /// How much of what.
    pub statistics: Statistics,
}

/// One blob, as the blob table tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedBlob {
    /// SHA-256 of the whole file, 64 hexadecimal digits: its name.
    pub id: String,
    /// What the chunks are compressed with.
    pub compressor: Compressor,
    /// What names the chunks.
    pub algorithm: DigestAlgorithm,
    /// Number of chunks.
    pub chunks: u32,
    /// Bytes of the uncompressed layout, a multiple of 4096.
    pub uncompressed_size: u64,
    /// Bytes of the whole file.
    pub stored_size: u64,
    /// What the chunk-info table is compressed with.
    pub table_compressor: Compressor,
    /// Where the table begins in the file.
    pub table_offset: u64,
    /// Bytes of the table as stored.
    pub table_stored_size: u64,
    /// Bytes of the table, 16 per chunk.
    pub table_size: u64,
    /// Whether it is a dictionary's blob and not written here.
    pub dict: bool,
    /// Its feature bits.
    pub features: u32,
    /// Length and SHA-256 of a table of contents, with its footer.
    pub toc: Option<(u32, Digest)>,
    /// SHA-256 and length of the blob that holds the chunk-info table, where it
    /// is another one.
    pub meta: Option<(Digest, u64)>,
}

/// Sums over an image.
#[derive(serde::Serialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Bytes of all regular files, each inode once.
    pub bytes: u64,
    /// Bytes of the chunks that were stored, before compression.
    pub unique_bytes: u64,
    /// Bytes of the blob files that were written.
    pub stored_bytes: u64,
    /// Chunks of all regular files.
    pub chunks: u64,
    /// Those that another chunk of the image equals.
    pub duplicate_chunks: u64,
    /// Those that the dictionary had.
    pub dict_chunks: u64,
}

/// Why blobs cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The options.
    #[error("The image cannot be built with these options")]
    Options(#[from] OptionsError),
    /// A file cannot be read.
    #[error("Cannot read {file}")]
    Read {
        /// The file or entry.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it was when it was listed.
    #[error("{file} changed while the image was built (it had {size} bytes); build again")]
    Changed {
        /// The file or entry.
        file: String,
        /// Bytes that it had.
        size: u64,
    },
    /// A compressor failed.
    #[error("Cannot compress a chunk")]
    Compress(#[source] io::Error),
    /// A blob cannot be written.
    #[error("Cannot write a blob to {}", dir.display())]
    Write {
        /// The directory of the blobs.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No thread.
    #[error("Cannot start a thread")]
    Thread(#[source] io::Error),
    /// What the chunks come from cannot be read.
    #[error(transparent)]
    Source(#[from] Box<SourceError>),
    /// A thread ended without its work.
    #[error("A packing thread ended early")]
    WorkerDied,
    /// More chunks than can be counted.
    #[error("The image has too many chunks; choose a larger chunk size")]
    TooManyChunks,
    /// More blobs than the format can count.
    #[error("The image needs more than {0} blobs; use fewer dictionaries or larger chunks")]
    TooManyBlobs(usize),
}

/// Cuts the regular files of `tree` into chunks, writes those that are neither
/// duplicates nor in `dict` to blobs in `blobs_dir`, and fills
/// [`FileContent::chunks`](super::tree::FileContent::chunks).
///
/// The blobs depend on the tree, the dictionary and the options, but not on
/// the number of threads. Memory beside the lists of chunks is bounded by the
/// threads and the chunk size. Of a failed build no unfinished file is left.
///
/// # Errors
/// A file that cannot be read or changes, and what the system refuses.
pub fn pack(
    tree: &mut Tree,
    dict: &dyn Dict,
    options: &BuildOptions,
    blobs_dir: &Path,
) -> Result<Packed, PackError> {
    pack_leading(tree, dict, options, blobs_dir, &[])
}

/// As [`pack`], with the chunks `first` (file and position in it) in front of
/// all others, in that order.
///
/// # Errors
/// As [`pack`].
pub fn pack_leading(
    tree: &mut Tree,
    dict: &dyn Dict,
    options: &BuildOptions,
    blobs_dir: &Path,
    first: &[(NodeIndex, u64)],
) -> Result<Packed, PackError> {
    pack_within(tree, dict, options, blobs_dir, first, Limits::default())
}

fn pack_within(
    tree: &mut Tree,
    dict: &dyn Dict,
    options: &BuildOptions,
    blobs_dir: &Path,
    first: &[(NodeIndex, u64)],
    limits: Limits,
) -> Result<Packed, PackError> {
    options.check()?;
    let plan = Plan::new(tree, options.chunk_size, first)?;
    let claims = Claims::default();
    let mut writer = Writer::new(options, limits, blobs_dir, dict, &claims);
    let shared = Shared {
        feed: &plan,
        dict,
        claims: &claims,
        options,
    };
    run(&shared, &mut writer)?;
    let (mut packed, indices) = writer.finish()?;
    if indices.len() as u64 != plan.chunks {
        return Err(PackError::WorkerDied);
    }
    let leading = indices.iter().take(plan.leading());
    let leading = leading.filter_map(|&index| packed.chunks.get(usize::try_from(index).ok()?));
    packed.leading = ChunkRun::of(leading.map(|chunk| (chunk.blob.into(), chunk.index)));

    for (node, chunks) in plan.of_files(&indices) {
        if let Some(Content::File(file)) = tree.nodes.get_mut(node).map(|node| &mut node.content) {
            file.chunks = chunks;
        }
    }
    Ok(packed)
}

/// Writes the chunks of `stream` to blobs in `blobs_dir`, but for duplicates
/// and those in `dict`. Of each chunk in turn the second value has the position
/// in [`Packed::chunks`].
///
/// The blobs depend on the stream, the dictionary and the options only. The
/// stream is read while its earlier chunks are digested, compressed and
/// written. Of a failed build no unfinished file is left.
///
/// # Errors
/// What the stream says, and what the system refuses.
pub fn pack_stream(
    stream: &mut dyn ChunkStream,
    dict: &dyn Dict,
    options: &BuildOptions,
    blobs_dir: &Path,
) -> Result<(Packed, Vec<u32>), PackError> {
    options.check()?;
    let claims = Claims::default();
    let mut writer = Writer::new(options, Limits::default(), blobs_dir, dict, &claims);
    let feed = StreamFeed::new(stream, options);
    let shared = Shared {
        feed: &feed,
        dict,
        claims: &claims,
        options,
    };
    run(&shared, &mut writer)?;
    writer.finish()
}

/// Runs the workers, and the writer on this thread.
fn run<'a>(shared: &Shared<'_, 'a>, writer: &mut Writer<'a>) -> Result<(), PackError> {
    let threads = shared.options.threads.max(1);
    let window = 2 * threads + 2;
    let (spare_in, spare_out) = crossbeam_channel::bounded(window);
    let (done_in, done_out) = crossbeam_channel::bounded(window + threads);
    for _ in 0..window {
        // The channel has room for all of them.
        let _ = spare_in.send(Batch::new(shared.options));
    }
    std::thread::scope(|scope| {
        // Moved in, so that a failed writer hangs up and the workers end.
        let (spare_in, done_out) = (spare_in, done_out);
        for number in 0..threads {
            let (spare, done) = (spare_out.clone(), done_in.clone());
            std::thread::Builder::new()
                .name(format!("tidegate-pack-{number}"))
                .spawn_scoped(scope, move || worker::run(shared, &spare, &done))
                .map_err(PackError::Thread)?;
        }
        drop((spare_out, done_in));
        writer.run(&done_out, &spare_in)
    })
}

#[cfg(test)]
mod tests;
