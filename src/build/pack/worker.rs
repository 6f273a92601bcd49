//! What a thread does with a batch: read, digest, look for duplicates,
//! compress.

use std::collections::HashMap;

use crossbeam_channel::{Receiver, Sender};

use super::PackError;
use super::claims::Claims;
use super::compress::Encoder;
use super::dict::{Dict, DictChunk};
use super::plan::{BATCH_BYTES, Feed, Piece};
use super::read::{Found, Reader};
use crate::build::options::BuildOptions;
use crate::chunk::{Compressor, Digest};

/// Chunks on their way from a worker to the writer. The buffers go round;
/// there are only so many, which bounds memory.
pub(super) struct Batch<'a> {
    pub(super) number: u64,
    pub(super) pieces: Vec<Piece<'a>>,
    /// What became of each piece.
    pub(super) cuts: Vec<Cut>,
    /// Stored forms, one after the other.
    pub(super) bytes: Vec<u8>,
    /// The bytes of pieces that came from a stream.
    pub(super) taken: Vec<u8>,
}

/// What became of a piece.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    /// The dictionary has it.
    Dict(DictChunk),
    /// The chunk with this lower ordinal is the same.
    Same(u64),
    /// Its stored form is in the batch.
    Stored {
        digest: Digest,
        /// Where in the batch's bytes.
        at: usize,
        stored_len: u32,
        compressed: bool,
    },
}

/// What a worker sends to the writer.
pub(super) enum Done<'a> {
    /// A batch, or why it cannot be made.
    Batch(Batch<'a>, Result<(), PackError>),
    /// Nothing more comes.
    Failed(PackError),
}

impl Batch<'_> {
    pub(super) fn new(options: &BuildOptions) -> Self {
        let chunk = usize::try_from(options.chunk_size).unwrap_or_default();
        let batch = usize::try_from(BATCH_BYTES).unwrap_or_default().max(chunk);
        // What is kept never takes more room than the pieces; only the last
        // one needs more while it is compressed.
        let slack = Encoder::bound(options.compressor, chunk).saturating_sub(chunk);
        Self {
            number: 0,
            pieces: Vec::new(),
            cuts: Vec::new(),
            bytes: vec![0; batch + slack],
            taken: Vec::new(),
        }
    }
}

/// What all workers share.
pub(super) struct Shared<'s, 'a> {
    pub(super) feed: &'s dyn Feed<'a>,
    pub(super) dict: &'s dyn Dict,
    pub(super) claims: &'s Claims,
    pub(super) options: &'s BuildOptions,
}

/// Works until all pieces are taken or the writer is gone.
pub(super) fn run<'a>(
    shared: &Shared<'_, 'a>,
    spare: &Receiver<Batch<'a>>,
    done: &Sender<Done<'a>>,
) {
    let _watch = Watch(done);
    let mut worker = Worker {
        shared,
        reader: Reader::default(),
        encoder: None,
        raw: vec![0; usize::try_from(shared.options.chunk_size).unwrap_or_default()],
        zeros: HashMap::new(),
    };
    while let Ok(mut batch) = spare.recv() {
        match shared.feed.fill(&mut batch) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                // If the writer is gone, it has failed itself.
                let _ = done.send(Done::Failed(error));
                return;
            }
        }
        let result = worker.fill(&mut batch);
        let failed = result.is_err();
        if done.send(Done::Batch(batch, result)).is_err() || failed {
            return;
        }
    }
}

/// Tells the writer of a panic, which would wait for the batch for ever.
struct Watch<'s, 'a>(&'s Sender<Done<'a>>);

impl Drop for Watch<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // If the writer is gone, nobody waits.
            let _ = self.0.send(Done::Failed(PackError::WorkerDied));
        }
    }
}

struct Worker<'s, 'a> {
    shared: &'s Shared<'s, 'a>,
    reader: Reader,
    encoder: Option<Encoder>,
    /// The chunk as it is read.
    raw: Vec<u8>,
    /// Digests of zeros by length, for holes.
    zeros: HashMap<u32, Digest>,
}

impl<'a> Worker<'_, 'a> {
    fn fill(&mut self, batch: &mut Batch<'a>) -> Result<(), PackError> {
        batch.cuts.clear();
        let mut used = 0;
        for piece in &batch.pieces {
            let out = batch.bytes.get_mut(used..).unwrap_or_default();
            let cut = self.cut(piece, &batch.taken, out, used)?;
            if let Cut::Stored { stored_len, .. } = cut {
                used += usize::try_from(stored_len).unwrap_or_default();
            }
            batch.cuts.push(cut);
        }
        Ok(())
    }

    /// Cuts one piece; its stored form goes to the start of `out`, which is
    /// `at` bytes into the batch.
    fn cut(
        &mut self,
        piece: &Piece<'_>,
        taken: &[u8],
        out: &mut [u8],
        at: usize,
    ) -> Result<Cut, PackError> {
        let len = usize::try_from(piece.len).unwrap_or_default();
        if self.shared.options.compressor == Compressor::None {
            // The stored form is what is read: no copy.
            return Ok(
                match self.look(piece, taken, out.get_mut(..len).unwrap_or_default())? {
                    Ok(cut) => cut,
                    Err(digest) => Cut::Stored {
                        digest,
                        at,
                        stored_len: piece.len,
                        compressed: false,
                    },
                },
            );
        }
        let mut buffer = std::mem::take(&mut self.raw);
        let raw = buffer.get_mut(..len).unwrap_or_default();
        let cut = match self.look(piece, taken, raw) {
            Ok(Err(digest)) => {
                self.compress(raw, out)
                    .map(|(stored_len, compressed)| Cut::Stored {
                        digest,
                        at,
                        stored_len,
                        compressed,
                    })
            }
            Ok(Ok(cut)) => Ok(cut),
            Err(error) => Err(error),
        };
        self.raw = buffer;
        cut
    }

    /// Reads a piece into `raw` and looks whether it is known: if not, gives
    /// the digest as the inner error, and `raw` has the bytes.
    fn look(
        &mut self,
        piece: &Piece<'_>,
        taken: &[u8],
        raw: &mut [u8],
    ) -> Result<Result<Cut, Digest>, PackError> {
        let Shared {
            dict,
            claims,
            options,
            ..
        } = self.shared;
        let found = self.reader.read(piece, taken, raw)?;
        let digest = match found {
            Found::Data => options.algorithm.digest(raw),
            Found::Hole => *self.zeros.entry(piece.len).or_insert_with(|| {
                raw.fill(0);
                options.algorithm.digest(raw)
            }),
        };
        if let Some(place) = dict.find(&digest, piece.len) {
            return Ok(Ok(Cut::Dict(place)));
        }
        let first = claims.claim(&digest, piece.len, piece.ordinal);
        if first < piece.ordinal {
            return Ok(Ok(Cut::Same(first)));
        }
        if found == Found::Hole {
            raw.fill(0);
        }
        Ok(Err(digest))
    }

    /// Puts the smaller form of `raw` into `out`; gives its length and whether
    /// it is the compressed one.
    fn compress(&mut self, raw: &[u8], out: &mut [u8]) -> Result<(u32, bool), PackError> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(self.shared.options).map_err(PackError::Compress)?),
        };
        let small = encoder.encode(raw, out).map_err(PackError::Compress)?;
        let len = match small {
            Some(small) => small,
            None => {
                out.get_mut(..raw.len())
                    .unwrap_or_default()
                    .copy_from_slice(raw);
                raw.len()
            }
        };
        Ok((u32::try_from(len).unwrap_or_default(), small.is_some()))
    }
}
