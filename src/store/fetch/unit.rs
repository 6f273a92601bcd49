//! What is asked for in one piece: a chunk's own stored form, or an extent that
//! several chunks share.

use crate::chunk::Chunk;
use crate::extent::Extent;
use crate::store::Store;
use crate::store::bounds::Permit;

/// A piece of a blob that is fetched and decompressed whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::store) enum Unit {
    /// The stored form of one chunk.
    Chunk(Chunk),
    /// One that several chunks share.
    Extent(Extent),
}

impl Unit {
    /// Position of its blob.
    pub(in crate::store) fn blob(&self) -> u16 {
        match self {
            Self::Chunk(chunk) => chunk.blob,
            Self::Extent(extent) => extent.blob,
        }
    }

    /// Smallest index of its chunks.
    pub(in crate::store) fn first(&self) -> u32 {
        match self {
            Self::Chunk(chunk) => chunk.index,
            Self::Extent(extent) => extent.chunks.0,
        }
    }

    /// The index behind the largest of its chunks.
    pub(in crate::store) fn end(&self) -> u32 {
        let last = match self {
            Self::Chunk(chunk) => chunk.index,
            Self::Extent(extent) => extent.chunks.1,
        };
        last.saturating_add(1)
    }

    /// Offset in the blob.
    pub(in crate::store) fn stored_offset(&self) -> u64 {
        match self {
            Self::Chunk(chunk) => chunk.stored_offset,
            Self::Extent(extent) => extent.offset,
        }
    }

    /// Length in the blob.
    pub(in crate::store) fn stored_len(&self) -> u32 {
        match self {
            Self::Chunk(chunk) => chunk.stored_len,
            Self::Extent(extent) => extent.len,
        }
    }

    /// Bytes of both its forms.
    pub(in crate::store) fn memory(&self) -> u32 {
        match self {
            Self::Chunk(chunk) => chunk.len.saturating_add(chunk.stored_len),
            Self::Extent(extent) => extent.raw.saturating_add(extent.len),
        }
    }
}

impl Store {
    /// The unit that a chunk comes in. None: it shares an extent, and the blob's
    /// tables are not at hand or do not name it. No I/O.
    pub(in crate::store) fn unit(&self, chunk: &Chunk) -> Option<Unit> {
        if !self.shares(chunk) {
            return Some(Unit::Chunk(*chunk));
        }
        let extents = self.extents(chunk.blob)?;
        match extents.find(chunk.index) {
            Some((extent, _)) => Some(Unit::Extent(*extent)),
            None => (chunk.stored_len > 0).then_some(Unit::Chunk(*chunk)),
        }
    }

    /// The chunk that stands for a unit in messages.
    pub(in crate::store) fn lead(&self, unit: &Unit) -> Option<Chunk> {
        match unit {
            Unit::Chunk(chunk) => Some(*chunk),
            Unit::Extent(extent) => self.members(extent).next(),
        }
    }

    /// The chunks of an extent that the image has.
    pub(in crate::store) fn members(&self, extent: &Extent) -> impl Iterator<Item = Chunk> {
        let extents = self.extents(extent.blob);
        let blob = extent.blob;
        let extent = *extent;
        let at = move |position: usize| {
            let members = extents.as_ref()?.members(&extent);
            members.get(position).copied()
        };
        (0..)
            .map_while(at)
            .filter_map(move |index| self.records.record(blob, index))
            .filter(|chunk| self.validate(chunk).is_ok())
    }

    /// The unit of chunk `index` of a blob, if the image has it.
    pub(super) fn unit_at(&self, blob: u16, index: u32) -> Option<Unit> {
        let chunk = self.records.record(blob, index)?;
        self.validate(&chunk).ok()?;
        self.unit(&chunk)
    }

    /// Whether all of a unit is in the cache. May wait for the disk.
    pub(super) fn is_here_whole(&self, unit: &Unit) -> bool {
        match unit {
            Unit::Chunk(chunk) => self.is_resident(chunk),
            Unit::Extent(extent) => self.members(extent).all(|chunk| self.is_resident(&chunk)),
        }
    }

    /// Whether another blob's cache on this host seems to have a unit.
    pub(super) fn unit_is_elsewhere(&self, unit: &Unit) -> bool {
        match unit {
            Unit::Chunk(chunk) => self.is_elsewhere(chunk),
            Unit::Extent(_) => false,
        }
    }

    /// Room for the extents among `units`, for which no reader holds any.
    pub(super) async fn room_for_extents<'a>(
        &self,
        units: impl Iterator<Item = &'a Unit>,
        class: crate::backend::Class,
    ) -> Permit {
        let extents = units.filter(|unit| matches!(unit, Unit::Extent(_)));
        let memory = extents.map(|unit| u64::from(unit.memory())).sum();
        if memory == 0 {
            return None;
        }
        self.bounds().room_for_extents(memory, class).await
    }
}
