//! The trace that is part of the image: runs of chunks, which `build --trace`
//! laid out one behind the other.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{BATCH, Stage};
use crate::chunk::Chunk;
use crate::image::Image;
use crate::image::hints::ChunkRun;

/// The chunks of some runs, in order.
pub(in crate::prefetch) struct Baked {
    image: Arc<Image>,
    runs: VecDeque<ChunkRun>,
    faults: u64,
}

impl Baked {
    pub(in crate::prefetch) fn new(image: Arc<Image>, runs: Vec<ChunkRun>) -> Self {
        Self {
            image,
            runs: runs.into(),
            faults: 0,
        }
    }

    /// The first chunk of a run. A run that leads out of its blob ends there.
    fn chunk(&self, run: &ChunkRun) -> Option<Chunk> {
        let blob = u16::try_from(run.blob).ok()?;
        let info = self.image.blobs().get(usize::from(blob))?;
        if run.first >= info.chunks {
            return None;
        }
        self.image.listed_chunk(blob, run.first).ok().flatten()
    }
}

impl Stage for Baked {
    fn more(&mut self, out: &mut Vec<Chunk>) -> bool {
        for _ in 0..BATCH {
            let Some(run) = self.runs.front().copied() else {
                return false;
            };
            let found = self.chunk(&run).filter(|_| run.count > 0);
            out.extend(found);
            if found.is_none() {
                if self.faults == 0 {
                    let path = self.image.path().display();
                    log::warn!("{path}: the image's trace names chunks that are not there");
                }
                self.faults += 1;
            }
            match self.runs.front_mut() {
                Some(run) if found.is_some() && run.count > 1 => {
                    run.first += 1;
                    run.count -= 1;
                }
                _ => {
                    self.runs.pop_front();
                }
            }
        }
        true
    }

    fn faults(&self) -> u64 {
        self.faults
    }
}
