//! From what a source delivers to proved bytes, and what is said when they are not.

use std::sync::Arc;

use bytes::Bytes;

use super::decompress::{decompress, open_extent};
use super::error::{Damage, StoreError};
use super::fetch::Unit;
use super::tags::Tags;
use super::{Store, Verify};
use crate::backend::BackendError;
use crate::chunk::Chunk;
use crate::extent::{Extent, Extents};

impl Store {
    /// From the stored form to proved bytes and their tags.
    pub(super) fn unpack(
        &self,
        chunk: &Chunk,
        stored: Bytes,
    ) -> Result<(Bytes, Option<Tags>), Damage> {
        let bytes = match self.blobs.get(usize::from(chunk.blob)) {
            Some(blob) => decompress(chunk, &blob.info, stored)?,
            None => stored,
        };
        let tags = self.prove(chunk, &bytes)?;
        Ok((bytes, tags))
    }

    /// The output of an extent out of its stored form; nothing is proved.
    pub(super) fn open_extent(
        &self,
        extents: &Extents,
        extent: &Extent,
        stored: &[u8],
    ) -> Result<Vec<u8>, Damage> {
        let blob = self.blobs.get(usize::from(extent.blob));
        let blob = blob.ok_or(Damage::Tables)?;
        open_extent(extents, extent, &blob.info, stored)
    }

    /// Proves `bytes` against the digest, and makes their tags if reads will
    /// need them.
    pub(super) fn prove(&self, chunk: &Chunk, bytes: &[u8]) -> Result<Option<Tags>, Damage> {
        if self.config.verify == Verify::Off {
            return Ok(None);
        }
        let blob = self.blobs.get(usize::from(chunk.blob));
        if self.is_unproved(chunk) {
            return Ok(Some(Tags::of(self.tags.mac(), chunk, bytes)));
        }
        let got = blob.map(|blob| blob.info.algorithm.digest(bytes));
        if got != Some(chunk.digest) {
            let got = got.unwrap_or_default();
            return Err(Damage::Digest { got });
        }
        let always = self.config.verify == Verify::Always;
        Ok(always.then(|| Tags::of(self.tags.mac(), chunk, bytes)))
    }

    /// Whether nothing can be proved of a chunk. That it is what came from the
    /// source is told by its tags, as long as they are known.
    pub(super) fn is_unproved(&self, chunk: &Chunk) -> bool {
        let blob = self.blobs.get(usize::from(chunk.blob));
        blob.is_some_and(|blob| !blob.info.packing.form.has_digests())
    }

    /// The error of a chunk of which the blob's tables do not know the extent.
    pub(super) fn no_extent(&self, chunk: &Chunk) -> StoreError {
        StoreError::BadChunk {
            blob: chunk.blob,
            index: chunk.index,
            reason: "the blob's tables name no extent that holds it",
        }
    }

    /// The error of a unit whose request failed.
    pub(super) fn fetch_error(&self, unit: &Unit, source: &Arc<BackendError>) -> StoreError {
        let lead = self.lead(unit);
        StoreError::Fetch {
            id: self.id_of(unit.blob()),
            index: unit.first(),
            digest: lead.map(|chunk| chunk.digest).unwrap_or_default(),
            source: Arc::clone(source),
        }
    }

    /// The error of a unit that a source delivered wrong.
    pub(super) fn damaged(&self, unit: &Unit, source: usize, reason: Damage) -> StoreError {
        let lead = self.lead(unit);
        StoreError::Damaged {
            id: self.id_of(unit.blob()),
            index: unit.first(),
            digest: lead.map(|chunk| chunk.digest).unwrap_or_default(),
            source_name: self.sources.describe(source),
            reason: Box::new(reason),
        }
    }

    /// The error of a unit that did not come in time.
    pub(super) fn unit_too_late(&self, unit: &Unit) -> StoreError {
        let lead = self.lead(unit);
        StoreError::Deadline {
            id: self.id_of(unit.blob()),
            index: unit.first(),
            digest: lead.map(|chunk| chunk.digest).unwrap_or_default(),
            after: self.config.deadline,
        }
    }
}
