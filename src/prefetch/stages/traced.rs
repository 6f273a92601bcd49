//! The chunks of a trace.

use std::sync::Arc;

use super::{BATCH, Stage};
use crate::chunk::Chunk;
use crate::fs::walk;
use crate::image::{ChunkGroup, Content, File, Image, Node};
use crate::trace::{Line, Trace};

/// A trace, line by line. What the image does not have is passed over.
pub(in crate::prefetch) struct Traced {
    image: Arc<Image>,
    trace: Trace,
    next: usize,
    /// Of the line before: lines of one file often follow each other.
    last: Last,
    faults: u64,
}

#[derive(Default)]
struct Last {
    path: Vec<u8>,
    node: Option<Arc<Node>>,
    group: Option<ChunkGroup>,
}

impl Traced {
    pub(in crate::prefetch) fn new(image: Arc<Image>, trace: Trace) -> Self {
        let faults = trace.ignored as u64;
        if faults > 0 {
            log::warn!("{faults} lines of the trace make no sense and are ignored");
        }
        Self {
            image,
            trace,
            next: 0,
            last: Last::default(),
            faults,
        }
    }

    /// Adds the chunks of a line; none if the image does not have them.
    fn line(&mut self, line: &Line, out: &mut Vec<Chunk>) -> Option<()> {
        if self.last.node.is_none() || self.last.path != line.path {
            self.last = Last {
                path: line.path.clone(),
                node: walk::find(&self.image, &line.path).ok(),
                group: None,
            };
        }
        let node = self.last.node.clone()?;
        let Content::File(file) = &node.content else {
            return None;
        };
        let chunk_size = self.image.summary().chunk_size;
        let wanted = self.trace.positions(line, chunk_size);
        if wanted.start >= file.chunks() {
            return None;
        }
        for position in wanted.start..wanted.end.min(file.chunks()) {
            out.push(self.chunk(file, node.attr.size, position)?);
        }
        Some(())
    }

    fn chunk(&mut self, file: &File, size: u64, position: u64) -> Option<Chunk> {
        let of = |group: &ChunkGroup| {
            let index = usize::try_from(position.checked_sub(group.start)?).ok()?;
            group.chunks.get(index).copied()
        };
        if let Some(chunk) = self.last.group.as_ref().and_then(of) {
            return Some(chunk);
        }
        let group = self.image.chunk_group(file, size, position).ok()?;
        let chunk = of(&group);
        self.last.group = Some(group);
        chunk
    }
}

impl Stage for Traced {
    fn more(&mut self, out: &mut Vec<Chunk>) -> bool {
        for _ in 0..BATCH {
            let Some(line) = self.trace.lines.get(self.next).cloned() else {
                return false;
            };
            self.next += 1;
            if self.line(&line, out).is_none() {
                if self.faults == 0 {
                    let path = crate::path_text::show(&line.path);
                    log::warn!(
                        "The trace names chunk {} of {path}, which the image does not have; \
                         what it does not have is passed over",
                        line.position
                    );
                }
                self.faults += 1;
            }
        }
        true
    }

    fn faults(&self) -> u64 {
        self.faults
    }
}
