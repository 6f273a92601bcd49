//! Chunks that come one after the other: an archive that is read once.
//!
//! The workers take turns at the stream: one reads (and so decompresses) the
//! next batch while the others digest and compress theirs.

use parking_lot::Mutex;

use super::PackError;
use super::plan::{BATCH_BYTES, BATCH_CHUNKS, CHUNKS_MAX, Feed, From, Piece};
use super::worker::Batch;
use crate::build::options::BuildOptions;

/// What chunks come from.
pub trait ChunkStream: Send {
    /// Bytes of the next chunk, from 1 to the chunk size; None at the end. Asked
    /// again before the chunk is read, it says the same.
    ///
    /// # Errors
    /// When the stream cannot be read, or is not what it should have been.
    fn next_len(&mut self) -> Result<Option<u32>, PackError>;

    /// Reads the next chunk into `buffer`, which has its length and holds
    /// anything; false if it is all zeros, which then need not be written.
    ///
    /// # Errors
    /// As [`ChunkStream::next_len`].
    fn read(&mut self, buffer: &mut [u8]) -> Result<bool, PackError>;
}

/// Hands out the chunks of a stream.
pub(super) struct StreamFeed<'s> {
    chunk_size: u32,
    state: Mutex<State<'s>>,
}

struct State<'s> {
    stream: &'s mut dyn ChunkStream,
    batch: u64,
    ordinal: u64,
    /// Whether the end was seen, or an error.
    ended: bool,
}

impl<'s> StreamFeed<'s> {
    pub(super) fn new(stream: &'s mut dyn ChunkStream, options: &BuildOptions) -> Self {
        Self {
            chunk_size: options.chunk_size,
            state: Mutex::new(State {
                stream,
                batch: 0,
                ordinal: 0,
                ended: false,
            }),
        }
    }
}

impl<'a> Feed<'a> for StreamFeed<'_> {
    fn fill(&self, batch: &mut Batch<'a>) -> Result<bool, PackError> {
        batch.pieces.clear();
        let mut state = self.state.lock();
        if state.ended {
            return Ok(false);
        }
        // Until the batch is whole, so that nobody goes on behind an error.
        state.ended = true;
        let room = usize::try_from(BATCH_BYTES.max(self.chunk_size)).unwrap_or_default();
        batch.taken.resize(room, 0);
        let mut used = 0;
        let mut more = true;
        while batch.pieces.len() < BATCH_CHUNKS {
            let Some(len) = state.stream.next_len()? else {
                more = false;
                break;
            };
            let size = usize::try_from(len).unwrap_or(usize::MAX);
            let Some(buffer) = batch
                .taken
                .get_mut(used..)
                .and_then(|it| it.get_mut(..size))
            else {
                break;
            };
            let from = if state.stream.read(buffer)? {
                From::Batch(used)
            } else {
                From::Hole
            };
            if let From::Batch(_) = from {
                used += size;
            }
            if state.ordinal >= CHUNKS_MAX {
                return Err(PackError::TooManyChunks);
            }
            let ordinal = state.ordinal;
            batch.pieces.push(Piece { from, len, ordinal });
            state.ordinal += 1;
        }
        state.ended = !more;
        batch.number = state.batch;
        state.batch += 1;
        Ok(!batch.pieces.is_empty())
    }
}
