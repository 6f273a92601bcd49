//! Takes batches in build order and decides which copy of a chunk is stored.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crossbeam_channel::{Receiver, Sender};

use super::blob::{BlobWriter, Limits};
use super::claims::Claims;
use super::dict::{Dict, DictChunk};
use super::worker::{Batch, Cut, Done};
use super::{PackError, Packed, PackedBlob, Statistics};
use crate::build::options::BuildOptions;
use crate::chunk::{Chunk, Digest};

/// Most blobs of an image: the format counts them with eight bits.
const MAX_BLOBS: usize = 254;

/// Where a chunk of the image is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Position among the own chunks.
    Own(u32),
    /// In the dictionary.
    Dict(DictChunk),
}

/// The one thread that orders everything.
pub(super) struct Writer<'a> {
    pub(super) options: &'a BuildOptions,
    pub(super) limits: Limits,
    pub(super) dir: &'a Path,
    pub(super) dict: &'a dyn Dict,
    pub(super) claims: &'a Claims,
    places: Vec<Place>,
    own: Vec<Chunk>,
    blobs: Vec<PackedBlob>,
    blob: Option<BlobWriter>,
    statistics: Statistics,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        options: &'a BuildOptions,
        limits: Limits,
        dir: &'a Path,
        dict: &'a dyn Dict,
        claims: &'a Claims,
    ) -> Self {
        Self {
            options,
            limits,
            dir,
            dict,
            claims,
            places: Vec::new(),
            own: Vec::new(),
            blobs: Vec::new(),
            blob: None,
            statistics: Statistics::default(),
        }
    }

    /// Takes batches until the workers are gone.
    ///
    /// A worker takes its number only once it has a batch to fill, so the
    /// batches under way are those that follow the last written one without a
    /// gap: the one that is waited for is always being made.
    pub(super) fn run(
        &mut self,
        done: &Receiver<Done<'a>>,
        spare: &Sender<Batch<'a>>,
    ) -> Result<(), PackError> {
        let mut early = BTreeMap::new();
        let mut next = 0;
        while let Ok(message) = done.recv() {
            match message {
                Done::Batch(batch, result) => early.insert(batch.number, (batch, result)),
                Done::Failed(error) => return Err(error),
            };
            while let Some((batch, result)) = early.remove(&next) {
                result?;
                self.take(&batch)?;
                next += 1;
                // All workers are gone once there is nothing left to take.
                let _ = spare.send(batch);
            }
        }
        if early.is_empty() {
            Ok(())
        } else {
            Err(PackError::WorkerDied)
        }
    }

    fn take(&mut self, batch: &Batch<'_>) -> Result<(), PackError> {
        for (piece, cut) in batch.pieces.iter().zip(&batch.cuts) {
            self.statistics.chunks += 1;
            self.statistics.bytes += u64::from(piece.len);
            let place = match *cut {
                Cut::Dict(chunk) => {
                    self.statistics.dict_chunks += 1;
                    Place::Dict(chunk)
                }
                Cut::Same(first) => self.same(first)?,
                Cut::Stored {
                    digest,
                    at,
                    stored_len,
                    compressed,
                } => {
                    // By now all lower ordinals have claimed.
                    let first = self.claims.claim(&digest, piece.len, piece.ordinal);
                    if first < piece.ordinal {
                        self.same(first)?
                    } else {
                        let len = usize::try_from(stored_len).unwrap_or_default();
                        let bytes = batch.bytes.get(at..at + len).unwrap_or_default();
                        self.store(digest, piece.len, bytes, compressed)?
                    }
                }
            };
            self.places.push(place);
        }
        Ok(())
    }

    fn same(&mut self, first: u64) -> Result<Place, PackError> {
        self.statistics.duplicate_chunks += 1;
        let first = usize::try_from(first).ok();
        first
            .and_then(|first| self.places.get(first))
            .copied()
            .ok_or(PackError::WorkerDied)
    }

    fn store(
        &mut self,
        digest: Digest,
        len: u32,
        bytes: &[u8],
        compressed: bool,
    ) -> Result<Place, PackError> {
        let stored_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if self
            .blob
            .as_ref()
            .is_some_and(|blob| !blob.has_room(len, stored_len))
        {
            self.finish_blob()?;
        }
        let failed = |source| PackError::Write {
            dir: self.dir.to_owned(),
            source,
        };
        let blob = match &mut self.blob {
            Some(blob) => blob,
            none => {
                let index = blob_index(self.blobs.len())?;
                none.insert(
                    BlobWriter::new(self.dir, index, self.options, self.limits).map_err(failed)?,
                )
            }
        };
        let chunk = blob
            .append(digest, len, bytes, compressed)
            .map_err(failed)?;
        let place = u32::try_from(self.own.len()).map_err(|_| PackError::TooManyChunks)?;
        self.own.push(chunk);
        self.statistics.unique_bytes += u64::from(len);
        Ok(Place::Own(place))
    }

    fn finish_blob(&mut self) -> Result<(), PackError> {
        if let Some(blob) = self.blob.take() {
            let blob = blob
                .finish(self.dir, self.options)
                .map_err(|source| PackError::Write {
                    dir: self.dir.to_owned(),
                    source,
                })?;
            self.statistics.stored_bytes += blob.stored_size;
            self.blobs.push(blob);
        }
        Ok(())
    }

    /// Ends the last blob and lists the used blobs of the dictionary behind
    /// the own ones. The second value has the position of each chunk of the
    /// image, by ordinal, in the list of chunks.
    pub(super) fn finish(mut self) -> Result<(Packed, Vec<u32>), PackError> {
        self.finish_blob()?;
        let mut blobs = self.blobs;
        let mut chunks = self.own;
        let mut bases = HashMap::new();
        let mut indices = Vec::with_capacity(self.places.len());
        for place in self.places {
            indices.push(match place {
                Place::Own(index) => index,
                Place::Dict(DictChunk { blob, index }) => {
                    let base = match bases.get(&blob) {
                        Some(base) => *base,
                        None => {
                            let base = u32::try_from(chunks.len());
                            let base = base.map_err(|_| PackError::TooManyChunks)?;
                            let (info, records) = self.dict.blob(blob);
                            let number = blob_index(blobs.len())?;
                            blobs.push(PackedBlob {
                                dict: true,
                                ..info.clone()
                            });
                            chunks.extend(records.iter().map(|c| Chunk { blob: number, ..*c }));
                            bases.insert(blob, base);
                            base
                        }
                    };
                    base.checked_add(index).ok_or(PackError::TooManyChunks)?
                }
            });
        }
        Ok((
            Packed {
                blobs,
                chunks,
                leading: Vec::new(),
                statistics: self.statistics,
            },
            indices,
        ))
    }
}

fn blob_index(position: usize) -> Result<u16, PackError> {
    if position >= MAX_BLOBS {
        return Err(PackError::TooManyBlobs(MAX_BLOBS));
    }
    u16::try_from(position).map_err(|_| PackError::TooManyBlobs(MAX_BLOBS))
}
