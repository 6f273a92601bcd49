//! What the integrity section tells a reader who wants to be fast, and others
//! may ignore: the chunks that are needed first, and the chunks of foreign
//! blobs that the image does not use. Not covered by the root digest, and not
//! believed: it only says what to fetch when.

use crate::image::error::ImageError;
use crate::image::metadata::Metadata;
use crate::image::open::Image;
use crate::image::rafs::{put, u32_at, u64_at};

/// Bit of the trailer's may-ignore bits: there is a list of the chunks that are
/// needed first.
pub const TRACE: u64 = 1;

/// Bit of the trailer's may-ignore bits: there are maps of the chunks that the
/// image uses.
pub const USED: u64 = 2;

/// Most runs of a trace that are read.
const RUNS_MAX: u64 = 1 << 18;

/// Bytes in front of the runs: their number.
const HEAD: usize = 8;

/// Where the hints are in the section; 0 for those that are not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HintPlaces {
    /// The list of runs.
    pub trace: u64,
    /// For each blob a u64: the offset of its map, 0 if all its chunks are used.
    pub used: u64,
}

impl HintPlaces {
    /// The may-ignore bits of what is there.
    pub fn bits(&self) -> u64 {
        let bit = |place, bit| if place == 0 { 0 } else { bit };
        bit(self.trace, TRACE) | bit(self.used, USED)
    }

    /// What is there according to the may-ignore `bits`.
    pub fn masked(self, bits: u64) -> Self {
        let place = |place, bit| if bits & bit == 0 { 0 } else { place };
        Self {
            trace: place(self.trace, TRACE),
            used: place(self.used, USED),
        }
    }
}

/// Chunks that lie one behind the other in a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkRun {
    /// Position of the blob in the blob table.
    pub blob: u32,
    /// Index of the first chunk.
    pub first: u32,
    /// Number of chunks, at least 1.
    pub count: u32,
}

impl ChunkRun {
    /// Bytes of a run.
    pub const LEN: usize = 12;

    /// The runs of chunks (blob, index) in their order, each taken once.
    pub fn of(chunks: impl IntoIterator<Item = (u32, u32)>) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (blob, index) in chunks {
            if !seen.insert((blob, index)) {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.blob == blob && run.first + run.count == index => run.count += 1,
                _ => runs.push(Self {
                    blob,
                    first: index,
                    count: 1,
                }),
            }
        }
        runs
    }

    fn parse(bytes: &[u8]) -> Self {
        Self {
            blob: u32_at(bytes, 0),
            first: u32_at(bytes, 4),
            count: u32_at(bytes, 8),
        }
    }

    /// Encodes a list of runs with its number.
    pub fn encode_all(runs: &[Self]) -> Vec<u8> {
        let mut bytes = vec![0; HEAD + runs.len() * Self::LEN];
        put(&mut bytes, 0, &(runs.len() as u64).to_le_bytes());
        for (run, at) in runs.iter().zip((HEAD..).step_by(Self::LEN)) {
            put(&mut bytes, at, &run.blob.to_le_bytes());
            put(&mut bytes, at + 4, &run.first.to_le_bytes());
            put(&mut bytes, at + 8, &run.count.to_le_bytes());
        }
        bytes
    }
}

/// Which chunks of a blob an image uses: one bit for each, or all of them.
#[derive(Clone, Debug, Default)]
pub struct UsedChunks(Option<Vec<u8>>);

impl UsedChunks {
    /// Whether chunk `index` is used.
    pub fn has(&self, index: u32) -> bool {
        let Some(map) = &self.0 else { return true };
        let byte = map.get(index as usize / 8).copied().unwrap_or(0);
        byte & (1 << (index % 8)) != 0
    }

    /// Number of chunks, of a blob of `chunks` chunks.
    pub fn count(&self, chunks: u32) -> u64 {
        match &self.0 {
            None => chunks.into(),
            Some(map) => map.iter().map(|byte| u64::from(byte.count_ones())).sum(),
        }
    }
}

impl Metadata {
    /// Reads `len` bytes of the section.
    fn hint(&self, offset: u64, len: usize) -> Result<Vec<u8>, ImageError> {
        let inside = self.section.and_then(|section| {
            let end = offset.checked_add(len as u64)?;
            section.at(offset).filter(|_| end <= section.len)
        });
        let at = inside.ok_or_else(|| self.bootstrap.damaged("a hint outside the section"))?;
        self.bootstrap.read(at, len)
    }
}

impl Image {
    /// Whether the image tells which chunks are needed first.
    pub fn has_trace(&self) -> bool {
        self.hints.trace != 0
    }

    /// The chunks that are needed first, in order. A hint.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn trace(&self) -> Result<Vec<ChunkRun>, ImageError> {
        if !self.has_trace() {
            return Ok(Vec::new());
        }
        let count = u64_at(&self.tree.erofs()?.hint(self.hints.trace, HEAD)?, 0).min(RUNS_MAX);
        let len = usize::try_from(count).unwrap_or(0) * ChunkRun::LEN;
        let at = self.hints.trace.saturating_add(HEAD as u64);
        let bytes = self.tree.erofs()?.hint(at, len)?;
        Ok(bytes
            .chunks_exact(ChunkRun::LEN)
            .map(ChunkRun::parse)
            .collect())
    }

    /// Whether the chunk is the one behind a run of the trace: what is read in
    /// the order of the trace ends before it.
    pub(crate) fn ends_trace(&self, blob: u16, index: u32) -> bool {
        if !self.has_trace() {
            return false;
        }
        let ends = self.trace_ends.get_or_init(|| {
            let runs = self.trace().unwrap_or_default();
            let end = |run: &ChunkRun| (run.blob, run.first.saturating_add(run.count));
            let mut ends: Vec<_> = runs.iter().map(end).collect();
            ends.sort_unstable();
            ends.into()
        });
        ends.binary_search(&(blob.into(), index)).is_ok()
    }

    /// Which chunks of a blob the image uses. A hint.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn used_chunks(&self, blob: u16) -> Result<UsedChunks, ImageError> {
        let Some(info) = self.blobs().get(usize::from(blob)) else {
            return Ok(UsedChunks(Some(Vec::new())));
        };
        if self.hints.used == 0 {
            return Ok(UsedChunks(None));
        }
        let at = self.hints.used.saturating_add(u64::from(blob) * 8);
        match u64_at(&self.tree.erofs()?.hint(at, 8)?, 0) {
            0 => Ok(UsedChunks(None)),
            map => {
                let len = info.chunks.div_ceil(8) as usize;
                Ok(UsedChunks(Some(self.tree.erofs()?.hint(map, len)?)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_to_runs_in_their_order_each_once() {
        let run = |blob, first, count| ChunkRun { blob, first, count };
        let chunks = [
            (0, 0),
            (0, 1),
            (0, 0),
            (0, 2),
            (1, 3),
            (0, 3),
            (1, 3),
            (1, 4),
        ];
        let runs = ChunkRun::of(chunks);
        assert_eq!(
            runs,
            [run(0, 0, 3), run(1, 3, 1), run(0, 3, 1), run(1, 4, 1)]
        );
        let bytes = ChunkRun::encode_all(&runs);
        assert_eq!(bytes.len(), 8 + 4 * 12);
        let again: Vec<_> = bytes[8..].chunks_exact(12).map(ChunkRun::parse).collect();
        assert_eq!(again, runs);
    }

    #[test]
    fn a_map_has_the_chunks_whose_bits_are_set() {
        let used = UsedChunks(Some(vec![0b101, 0b1]));
        let has: Vec<u32> = (0..20).filter(|&index| used.has(index)).collect();
        assert_eq!((has, used.count(9)), (vec![0, 2, 8], 3));
        assert_eq!(UsedChunks(None).count(9), 9);
    }

    #[test]
    fn places_without_their_bit_are_none() {
        let places = HintPlaces { trace: 8, used: 16 };
        assert_eq!(places.masked(places.bits()), places);
        assert_eq!(places.masked(TRACE), HintPlaces { trace: 8, used: 0 });
        assert_eq!(places.masked(!3), HintPlaces::default());
    }
}
