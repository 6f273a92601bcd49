//! All chunks of the image, blob by blob, by their records: no inode is loaded.

use std::sync::Arc;

use super::{BATCH, Stage};
use crate::chunk::Chunk;
use crate::image::Image;

/// Every chunk that the image lists.
pub(in crate::prefetch) struct Everything {
    image: Arc<Image>,
    blob: u16,
    index: u32,
    faults: u64,
}

impl Everything {
    pub(in crate::prefetch) fn new(image: Arc<Image>) -> Self {
        Self {
            image,
            blob: 0,
            index: 0,
            faults: 0,
        }
    }

    /// Number of chunks, as far as the blob table tells it.
    pub(in crate::prefetch) fn count(image: &Image) -> u64 {
        image
            .blobs()
            .iter()
            .map(|blob| u64::from(blob.chunks))
            .sum()
    }
}

impl Stage for Everything {
    fn more(&mut self, out: &mut Vec<Chunk>) -> bool {
        for _ in 0..BATCH {
            let Some(blob) = self.image.blobs().get(usize::from(self.blob)) else {
                return false;
            };
            if self.index >= blob.chunks {
                let Some(next) = self.blob.checked_add(1) else {
                    return false;
                };
                (self.blob, self.index) = (next, 0);
                continue;
            }
            match self.image.listed_chunk(self.blob, self.index) {
                Ok(found) => out.extend(found),
                Err(error) => {
                    if self.faults == 0 {
                        log::warn!("Prefetch leaves out what cannot be looked up: {error}");
                    }
                    self.faults += 1;
                }
            }
            self.index += 1;
        }
        true
    }

    fn faults(&self) -> u64 {
        self.faults
    }
}
