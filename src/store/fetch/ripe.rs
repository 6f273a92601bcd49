//! Chunks that came in and wait for a core to be decompressed and proved on,
//! the most urgent first. No I/O.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::plan::Part;
use super::queue::list;
use crate::backend::Class;
use crate::chunk::Chunk;

/// A chunk that came in, in stored form.
pub(super) struct Ripe {
    pub(super) part: Part,
    pub(super) source: usize,
    pub(super) stored: Bytes,
}

/// What waits, and how many work on it.
pub(super) struct Ripening {
    waiting: HashMap<Chunk, Ripe>,
    /// One list per class; entries that moved on are skipped.
    lists: [VecDeque<Chunk>; 3],
    workers: usize,
    /// Workers that are busy with prefetch.
    prefetching: usize,
    cores: usize,
}

impl Default for Ripening {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            lists: Default::default(),
            workers: 0,
            prefetching: 0,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Ripening {
    /// Adds a chunk; true when a worker should be started, which is then
    /// counted.
    pub(super) fn push(&mut self, ripe: Ripe, class: Class) -> bool {
        let chunk = ripe.part.chunk;
        self.waiting.insert(chunk, ripe);
        self.line_up(chunk, class);
        let start = self.workers < self.cores;
        self.workers += usize::from(start);
        start
    }

    /// Moves a waiting chunk forward.
    pub(super) fn promote(&mut self, chunk: &Chunk, class: Class) {
        if self.waiting.contains_key(chunk) {
            self.line_up(*chunk, class);
        }
    }

    fn line_up(&mut self, chunk: Chunk, class: Class) {
        if let Some(list) = self.lists.get_mut(list(class)) {
            list.push_back(chunk);
        }
    }

    /// The most urgent chunk, for a worker that is done with one of class
    /// `done`. None: there is nothing that it may do, and it is to end.
    /// Prefetch never has all cores, if there are several.
    pub(super) fn pick(&mut self, done: Option<Class>) -> Option<(Ripe, Class)> {
        self.prefetching -= usize::from(done == Some(Class::Prefetch));
        for class in [Class::Demand, Class::Readahead, Class::Prefetch] {
            if class == Class::Prefetch && self.prefetching >= (self.cores / 2).max(1) {
                break;
            }
            while let Some(chunk) = self.lists.get_mut(list(class))?.pop_front() {
                if let Some(ripe) = self.waiting.remove(&chunk) {
                    self.prefetching += usize::from(class == Class::Prefetch);
                    return Some((ripe, class));
                }
            }
        }
        self.workers -= 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Digest;

    fn ripe(index: u32) -> Ripe {
        let chunk = Chunk {
            blob: 0,
            index,
            digest: Digest::default(),
            len: 1,
            offset: 0,
            stored_offset: 0,
            stored_len: 1,
            compressed: false,
        };
        let part = Part {
            chunk,
            _claim: None,
            _room: None,
        };
        Ripe {
            part,
            source: 0,
            stored: Bytes::new(),
        }
    }

    fn two_cores() -> Ripening {
        Ripening {
            cores: 2,
            ..Ripening::default()
        }
    }

    fn index(picked: Option<(Ripe, Class)>) -> Option<u32> {
        picked.map(|(ripe, _)| ripe.part.chunk.index)
    }

    #[test]
    fn the_most_urgent_chunk_is_next_and_workers_are_as_many_as_cores() {
        let mut it = two_cores();
        assert!(it.push(ripe(1), Class::Prefetch));
        assert!(it.push(ripe(2), Class::Readahead));
        assert!(!it.push(ripe(3), Class::Demand));
        it.promote(&ripe(1).part.chunk, Class::Demand);
        it.promote(&ripe(9).part.chunk, Class::Demand);
        assert_eq!(index(it.pick(None)), Some(3));
        assert_eq!(index(it.pick(None)), Some(1));
        assert_eq!(index(it.pick(Some(Class::Demand))), Some(2));
        assert_eq!(index(it.pick(Some(Class::Readahead))), None);
        assert_eq!(index(it.pick(Some(Class::Demand))), None);
        assert!(it.push(ripe(4), Class::Demand), "they ended");
    }

    #[test]
    fn prefetch_leaves_a_core_to_readers() {
        let mut it = two_cores();
        for number in 0..3 {
            it.push(ripe(number), Class::Prefetch);
        }
        assert_eq!(index(it.pick(None)), Some(0));
        assert_eq!(index(it.pick(None)), None);
        assert!(it.push(ripe(7), Class::Demand));
        assert_eq!(index(it.pick(None)), Some(7));
        assert_eq!(index(it.pick(Some(Class::Prefetch))), Some(1));
    }
}
