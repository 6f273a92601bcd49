//! Which chunks were asked for already: one bit each, in pages that exist once
//! a bit in them is set.

use std::collections::HashMap;

/// Chunks per page (512 bytes of bits).
const PAGE: u32 = 4096;

/// A set of chunks by blob and index.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pages: HashMap<(u16, u32), Box<[u64; 64]>>,
    count: u64,
}

impl Asked {
    /// Adds a chunk; false if it was there.
    pub(super) fn insert(&mut self, blob: u16, index: u32) -> bool {
        let page = self
            .pages
            .entry((blob, index / PAGE))
            .or_insert_with(|| Box::new([0; 64]));
        let position = index % PAGE;
        let Some(word) = page.get_mut((position / 64) as usize) else {
            return false;
        };
        let bit = 1 << (position % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(new);
        new
    }

    /// Number of chunks.
    pub(super) fn len(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chunk_is_new_once() {
        let mut asked = Asked::default();
        let chunks = [
            (0, 0),
            (0, 63),
            (0, 64),
            (0, 4095),
            (0, 4096),
            (1, 0),
            (u16::MAX, u32::MAX),
        ];
        for (blob, index) in chunks {
            assert!(asked.insert(blob, index));
            assert!(!asked.insert(blob, index));
        }
        assert_eq!(asked.len(), 7);
    }
}
