//! All chunks that the image uses, blob by blob, by their records: no inode is
//! loaded.

use std::sync::Arc;

use super::{BATCH, Stage};
use crate::chunk::Chunk;
use crate::image::Image;
use crate::image::hints::UsedChunks;

/// Every chunk that the image lists and uses.
pub(in crate::prefetch) struct Everything {
    image: Arc<Image>,
    blob: u16,
    index: u32,
    /// Of the blob; none until it is looked up.
    used: Option<UsedChunks>,
    faults: u64,
}

impl Everything {
    pub(in crate::prefetch) fn new(image: Arc<Image>) -> Self {
        Self {
            image,
            blob: 0,
            index: 0,
            used: None,
            faults: 0,
        }
    }

    /// Number of chunks, as far as the blob table and the image's hints tell.
    pub(in crate::prefetch) fn count(image: &Image) -> u64 {
        let blobs = image.blobs().iter().zip(0..);
        blobs
            .map(|(blob, number)| match image.used_chunks(number) {
                Ok(used) => used.count(blob.chunks),
                Err(_) => blob.chunks.into(),
            })
            .sum()
    }

    /// Whether a chunk of the blob is used. A map that cannot be read says that
    /// all are.
    fn is_used(&mut self) -> bool {
        let used = match &self.used {
            Some(used) => used,
            None => {
                let found = self.image.used_chunks(self.blob);
                let found = found.inspect_err(|error| log::warn!("{error}"));
                self.used.insert(found.unwrap_or_default())
            }
        };
        used.has(self.index)
    }

    fn look_up(&mut self, out: &mut Vec<Chunk>) {
        match self.image.listed_chunk(self.blob, self.index) {
            Ok(found) => out.extend(found),
            Err(error) => {
                if self.faults == 0 {
                    log::warn!("Prefetch leaves out what cannot be looked up: {error}");
                }
                self.faults += 1;
            }
        }
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
                self.used = None;
                continue;
            }
            if self.is_used() {
                self.look_up(out);
            }
            self.index += 1;
        }
        true
    }

    fn faults(&self) -> u64 {
        self.faults
    }
}
