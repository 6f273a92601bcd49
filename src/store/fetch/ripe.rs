//! Chunks that came in and wait for a core to be decompressed and proved on,
//! the most urgent first. No I/O.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::plan::Part;
use super::queue::list;
use super::unit::Unit;
use crate::backend::Class;
use crate::store::bounds::Permit;

/// How long no reader has to wait before chunks that came along are worked on:
/// most of them are never asked for, and those that are, are then worked on at
/// once.
pub(super) const REST: Duration = Duration::from_millis(5);

/// What is to be started after a chunk came in. A worker is counted already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Start {
    Worker,
    /// Someone who looks after the guesses.
    Watch,
    Nothing,
}

/// What whoever looks after the guesses is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Watch {
    /// Start a worker, which is counted already, and look again.
    Worker,
    /// Look again after [`REST`].
    Wait,
    /// There are none any more.
    End,
}

/// A unit that came in, in stored form.
pub(super) struct Ripe {
    pub(super) part: Part,
    pub(super) source: usize,
    pub(super) stored: Bytes,
    /// Room for it if it is an extent.
    pub(super) _room: Arc<Permit>,
}

/// What waits, and how many work on it.
pub(super) struct Ripening {
    waiting: HashMap<Unit, Ripe>,
    /// One list per class; entries that moved on are skipped.
    lists: [VecDeque<Unit>; 3],
    /// Chunks that came along with others: their turn is when readers rest.
    guesses: VecDeque<Unit>,
    /// Whether someone looks after the guesses.
    watched: bool,
    /// When a chunk that a reader waits for last came in.
    demanded: Option<Instant>,
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
            guesses: VecDeque::new(),
            watched: false,
            demanded: None,
            workers: 0,
            prefetching: 0,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Ripening {
    /// Adds a chunk.
    pub(super) fn push(&mut self, ripe: Ripe, class: Class) -> Start {
        let (unit, guessed) = (ripe.part.unit, ripe.part.guessed);
        self.waiting.insert(unit, ripe);
        if guessed && class != Class::Demand {
            self.guesses.push_back(unit);
            return if std::mem::replace(&mut self.watched, true) {
                Start::Nothing
            } else {
                Start::Watch
            };
        }
        self.line_up(unit, class);
        if self.start() {
            Start::Worker
        } else {
            Start::Nothing
        }
    }

    /// Moves a waiting chunk forward; true when a worker should be started,
    /// which is then counted.
    pub(super) fn promote(&mut self, unit: &Unit, class: Class) -> bool {
        let waits = self.waiting.contains_key(unit);
        if waits {
            self.line_up(*unit, class);
        }
        waits && self.start()
    }

    /// For the one who looks after the guesses: what to do now.
    pub(super) fn watch(&mut self) -> Watch {
        while let Some(unit) = self.guesses.front()
            && !self.waiting.contains_key(unit)
        {
            self.guesses.pop_front();
        }
        if self.guesses.is_empty() {
            self.watched = false;
            return Watch::End;
        }
        if self.readers_rest() && self.start() {
            Watch::Worker
        } else {
            Watch::Wait
        }
    }

    fn readers_rest(&self) -> bool {
        self.demanded.is_none_or(|when| when.elapsed() >= REST)
    }

    fn start(&mut self) -> bool {
        let start = self.workers < self.cores;
        self.workers += usize::from(start);
        start
    }

    fn line_up(&mut self, unit: Unit, class: Class) {
        if class == Class::Demand {
            self.demanded = Some(Instant::now());
        }
        if let Some(list) = self.lists.get_mut(list(class)) {
            list.push_back(unit);
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
            while let Some(unit) = self.lists.get_mut(list(class))?.pop_front() {
                if let Some(ripe) = self.waiting.remove(&unit) {
                    self.prefetching += usize::from(class == Class::Prefetch);
                    return Some((ripe, class));
                }
            }
        }
        if self.readers_rest() {
            while let Some(unit) = self.guesses.pop_front() {
                if let Some(ripe) = self.waiting.remove(&unit) {
                    return Some((ripe, Class::Readahead));
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
    use crate::chunk::{Chunk, Digest};

    fn ripe(index: u32) -> Ripe {
        let unit = Unit::Chunk(Chunk {
            blob: 0,
            index,
            digest: Digest::default(),
            len: 1,
            offset: 0,
            stored_offset: 0,
            stored_len: 1,
            compressed: false,
        });
        let part = Part {
            unit,
            guessed: false,
            _claim: None,
            _room: None,
        };
        Ripe {
            part,
            source: 0,
            stored: Bytes::new(),
            _room: Arc::default(),
        }
    }

    fn two_cores() -> Ripening {
        Ripening {
            cores: 2,
            ..Ripening::default()
        }
    }

    fn index(picked: Option<(Ripe, Class)>) -> Option<u32> {
        picked.map(|(ripe, _)| ripe.part.unit.first())
    }

    #[test]
    fn the_most_urgent_chunk_is_next_and_workers_are_as_many_as_cores() {
        let mut it = two_cores();
        assert_eq!(it.push(ripe(1), Class::Prefetch), Start::Worker);
        assert_eq!(it.push(ripe(2), Class::Readahead), Start::Worker);
        assert_eq!(it.push(ripe(3), Class::Demand), Start::Nothing);
        it.promote(&ripe(1).part.unit, Class::Demand);
        it.promote(&ripe(9).part.unit, Class::Demand);
        assert_eq!(index(it.pick(None)), Some(3));
        assert_eq!(index(it.pick(None)), Some(1));
        assert_eq!(index(it.pick(Some(Class::Demand))), Some(2));
        assert_eq!(index(it.pick(Some(Class::Readahead))), None);
        assert_eq!(index(it.pick(Some(Class::Demand))), None);
        assert_eq!(it.push(ripe(4), Class::Demand), Start::Worker, "they ended");
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_wait_until_readers_rest_or_one_of_them_is_wanted() {
        let mut it = two_cores();
        let guess = |index| {
            let mut guess = ripe(index);
            guess.part.guessed = true;
            guess
        };
        assert_eq!(it.push(ripe(0), Class::Demand), Start::Worker);
        assert_eq!(it.push(guess(1), Class::Readahead), Start::Watch);
        assert_eq!(it.push(guess(2), Class::Readahead), Start::Nothing);
        assert_eq!(index(it.pick(None)), Some(0));
        assert_eq!(index(it.pick(Some(Class::Demand))), None);
        assert_eq!(it.watch(), Watch::Wait);
        assert!(it.promote(&ripe(2).part.unit, Class::Demand));
        assert_eq!(index(it.pick(None)), Some(2));
        assert_eq!(index(it.pick(Some(Class::Demand))), None);
        tokio::time::advance(REST).await;
        assert_eq!(it.watch(), Watch::Worker);
        assert_eq!(index(it.pick(None)), Some(1));
        assert_eq!(it.watch(), Watch::End);
        assert_eq!(it.push(guess(3), Class::Readahead), Start::Watch);
    }

    #[test]
    fn prefetch_leaves_a_core_to_readers() {
        let mut it = two_cores();
        for number in 0..3 {
            it.push(ripe(number), Class::Prefetch);
        }
        assert_eq!(index(it.pick(None)), Some(0));
        assert_eq!(index(it.pick(None)), None);
        assert_eq!(it.push(ripe(7), Class::Demand), Start::Worker);
        assert_eq!(index(it.pick(None)), Some(7));
        assert_eq!(index(it.pick(Some(Class::Prefetch))), Some(1));
    }
}
