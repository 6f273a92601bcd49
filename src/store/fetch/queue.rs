//! What is wanted and what is under way. No I/O.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::link::Limits;
use super::unit::Unit;
use super::{Arrived, Fault, Outcome};
use crate::backend::Class;
use crate::backend::sources::Avoid;

/// Most requests under way at once.
pub(super) const REQUESTS: usize = 64;

/// Most requests of readahead and prefetch under way at once: some are left
/// for readers who wait.
const REQUESTS_AHEAD: usize = 16;

/// A chunk that somebody wants.
struct Want {
    class: Class,
    avoid: Avoid,
    /// Whether a request for it is under way.
    sent: bool,
    /// Whether its readers hold memory and claim for it.
    owned: bool,
    waiters: Vec<oneshot::Sender<Outcome>>,
    /// Its proved bytes, until they are in the cache.
    arrived: Option<Arrived>,
}

/// What a want became.
pub(super) enum Attached {
    /// The bytes are at hand.
    Here(Arrived),
    /// The waiter will be told.
    Waiting,
}

/// A chunk that is to be asked for now, taken out of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) unit: Unit,
    pub(super) class: Class,
    pub(super) avoid: Avoid,
    pub(super) owned: bool,
    /// Requests with a waiting reader under way, this one included.
    pub(super) readers: usize,
}

/// All wants by unit, and the order of those that wait. The whole unit is
/// the key: an image that describes one chunk in two ways has two.
#[derive(Default)]
pub(super) struct Queue {
    wants: HashMap<Unit, Want>,
    /// One list per class; entries that moved on are skipped.
    lists: [VecDeque<Unit>; 3],
    /// Requests under way by class, and the bytes that those ahead ask for.
    requests: [usize; 3],
    bytes: [u64; 3],
    /// Whether a request ahead of readers is being planned: its neighbours must
    /// not be taken for requests of their own.
    planning: bool,
}

/// Position of a class in tables by class.
pub(super) fn list(class: Class) -> usize {
    match class {
        Class::Demand => 0,
        Class::Readahead => 1,
        Class::Prefetch => 2,
    }
}

impl Queue {
    /// Whether a chunk is wanted or under way.
    pub(super) fn has(&self, unit: &Unit) -> bool {
        self.wants.contains_key(unit)
    }

    /// Whether these very bytes of a unit have come and are at hand.
    pub(super) fn has_arrived(&self, unit: &Unit, bytes: &Bytes) -> bool {
        let want = self.wants.get(unit);
        let arrived = want.and_then(|want| want.arrived.as_ref());
        arrived.is_some_and(|arrived| arrived.bytes.as_ptr() == bytes.as_ptr())
    }

    /// Adds a reader of a chunk.
    pub(super) fn attach(
        &mut self,
        unit: Unit,
        class: Class,
        avoid: Avoid,
        tell: oneshot::Sender<Outcome>,
    ) -> Attached {
        self.add(unit, class);
        let Some(want) = self.wants.get_mut(&unit) else {
            return Attached::Waiting;
        };
        if let Some(arrived) = &want.arrived {
            return Attached::Here(arrived.clone());
        }
        want.owned = true;
        want.avoid |= avoid;
        want.waiters.push(tell);
        Attached::Waiting
    }

    /// Wants a chunk that nobody reads yet; does nothing if it is wanted.
    pub(super) fn add(&mut self, unit: Unit, class: Class) {
        if self.wants.contains_key(&unit) {
            return self.promote(&unit, class);
        }
        let want = Want {
            class,
            avoid: 0,
            sent: false,
            owned: false,
            waiters: Vec::new(),
            arrived: None,
        };
        self.wants.insert(unit, want);
        self.line_up(unit, class);
    }

    fn line_up(&mut self, unit: Unit, class: Class) {
        if let Some(list) = self.lists.get_mut(list(class)) {
            list.push_back(unit);
        }
    }

    /// Moves a waiting chunk forward if `class` is more urgent than its own.
    pub(super) fn promote(&mut self, unit: &Unit, class: Class) {
        let Some(want) = self.wants.get_mut(unit) else {
            return;
        };
        if class < want.class {
            want.class = class;
            if !want.sent {
                self.line_up(*unit, class);
            }
        }
    }

    /// The most urgent chunk, if the limits allow a request for it now.
    pub(super) fn next(&mut self, limits: &Limits) -> Option<Taken> {
        for class in [Class::Demand, Class::Readahead, Class::Prefetch] {
            if !self.may_start(class, limits) {
                continue;
            }
            while let Some(unit) = self.lists.get_mut(list(class))?.pop_front() {
                if let Some(taken) = self.take_as(&unit, class) {
                    self.count(class, 1, unit.stored_len().into());
                    self.planning |= class != Class::Demand;
                    let readers = self.requests.first().copied().unwrap_or(0);
                    return Some(Taken { readers, ..taken });
                }
            }
        }
        None
    }

    fn may_start(&self, class: Class, limits: &Limits) -> bool {
        let [readers, ahead, background] = self.requests;
        let [_, ahead_bytes, background_bytes] = self.bytes;
        if readers + ahead + background >= REQUESTS {
            return false;
        }
        match class {
            Class::Demand => true,
            _ if self.planning => false,
            Class::Readahead => {
                let window = if readers > 0 {
                    limits.beside
                } else {
                    limits.readahead
                };
                ahead + background < REQUESTS_AHEAD && ahead_bytes < window
            }
            Class::Prefetch => {
                let window = if readers + ahead > 0 {
                    limits.trickle
                } else {
                    limits.prefetch
                };
                ahead + background < REQUESTS_AHEAD && background_bytes < window
            }
        }
    }

    /// Notes that the plan of a request of `class` is made, and how many bytes it
    /// asks for beyond its first chunk.
    pub(super) fn planned(&mut self, class: Class, more: u64) {
        self.planning &= class == Class::Demand;
        self.count(class, 0, i64::try_from(more).unwrap_or(i64::MAX));
    }

    /// Whether a chunk waits and may share a request.
    pub(super) fn waits(&self, unit: &Unit) -> bool {
        let want = self.wants.get(unit);
        want.is_some_and(|want| !want.sent && want.avoid == 0)
    }

    /// Takes a waiting chunk for a request. None: it moved on, or all who
    /// waited for it went away.
    fn take_as(&mut self, unit: &Unit, class: Class) -> Option<Taken> {
        let want = self.wants.get_mut(unit)?;
        if want.sent || want.class != class {
            return None;
        }
        if want.owned {
            want.waiters.retain(|waiter| !waiter.is_closed());
            if want.waiters.is_empty() {
                self.wants.remove(unit);
                return None;
            }
        }
        want.sent = true;
        Some(Taken {
            unit: *unit,
            class,
            avoid: want.avoid,
            owned: want.owned,
            readers: 0,
        })
    }

    /// Takes a neighbour of a chunk that is being asked for: one that waits
    /// (`Some(true)`), or one that nobody wants yet, which is wanted from now on
    /// (`Some(false)`), if `more` allows that. None: it is under way, or must
    /// be asked for alone.
    pub(super) fn take_neighbour(&mut self, unit: &Unit, class: Class, more: bool) -> Option<bool> {
        if let Some(want) = self.wants.get(unit) {
            let class = want.class;
            return self
                .waits(unit)
                .then(|| self.take_as(unit, class))
                .flatten()
                .map(|taken| taken.owned);
        }
        if !more {
            return None;
        }
        let want = Want {
            class,
            avoid: 0,
            sent: true,
            owned: false,
            waiters: Vec::new(),
            arrived: None,
        };
        self.wants.insert(*unit, want);
        Some(false)
    }

    /// Counts a request of `class` and its bytes in or, negative, out.
    pub(super) fn count(&mut self, class: Class, requests: isize, bytes: i64) {
        if let Some(count) = self.requests.get_mut(list(class)) {
            *count = count.saturating_add_signed(requests);
        }
        if let Some(count) = self.bytes.get_mut(list(class)) {
            *count = count.saturating_add_signed(bytes);
        }
    }

    /// How urgent a chunk is by now.
    pub(super) fn class(&self, unit: &Unit) -> Option<Class> {
        self.wants.get(unit).map(|want| want.class)
    }

    /// Tells all who wait that a chunk has come. It stays at hand until
    /// [`Queue::leave`]. False when nobody had waited for it.
    pub(super) fn arrive(&mut self, unit: &Unit, arrived: Arrived) -> bool {
        let Some(want) = self.wants.get_mut(unit) else {
            return false;
        };
        want.arrived = Some(arrived.clone());
        let mut told = false;
        for waiter in want.waiters.drain(..) {
            told |= waiter.send(Ok(arrived.clone())).is_ok();
        }
        told || want.owned
    }

    /// Forgets a chunk; whoever still waits is told `fault`.
    pub(super) fn leave(&mut self, unit: &Unit, mut fault: impl FnMut() -> Fault) {
        if let Some(want) = self.wants.remove(unit) {
            for waiter in want.waiters {
                // Who went away is not missed.
                let _ = waiter.send(Err(fault()));
            }
        }
    }

    /// Chunks that are wanted or under way.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.wants.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Chunk, Digest};

    const WIDE: Limits = Limits {
        round_trip: 1 << 20,
        readahead: 1 << 20,
        distance: 1 << 20,
        beside: 1 << 20,
        prefetch: 1 << 20,
        trickle: 1,
    };

    fn unit(index: u32) -> Unit {
        Unit::Chunk(Chunk {
            blob: 0,
            index,
            digest: Digest::default(),
            len: 4096,
            offset: u64::from(index) * 4096,
            stored_offset: u64::from(index) * 100,
            stored_len: 100,
            compressed: true,
        })
    }

    fn order(queue: &mut Queue) -> Vec<u32> {
        std::iter::from_fn(|| queue.next(&WIDE))
            .map(|taken| taken.unit.first())
            .collect()
    }

    #[test]
    fn readers_come_before_readahead_and_that_before_prefetch() {
        let mut queue = Queue::default();
        queue.add(unit(1), Class::Prefetch);
        queue.add(unit(2), Class::Readahead);
        queue.add(unit(3), Class::Demand);
        queue.add(unit(4), Class::Demand);
        assert_eq!(order(&mut queue), [3, 4, 2]);
        queue.planned(Class::Readahead, 0);
        assert_eq!(order(&mut queue), [1]);
    }

    #[test]
    fn a_reader_moves_a_prefetched_chunk_to_the_front_and_it_is_sent_once() {
        let mut queue = Queue::default();
        queue.add(unit(1), Class::Readahead);
        queue.add(unit(2), Class::Prefetch);
        let (tell, _told) = oneshot::channel();
        queue.attach(unit(2), Class::Demand, 0, tell);
        assert_eq!(order(&mut queue), [2, 1]);
        queue.planned(Class::Readahead, 0);
        assert!(order(&mut queue).is_empty());
    }

    #[test]
    fn a_chunk_that_nobody_waits_for_any_more_is_not_asked_for() {
        let mut queue = Queue::default();
        let (tell, told) = oneshot::channel();
        queue.attach(unit(1), Class::Demand, 0, tell);
        drop(told);
        assert!(order(&mut queue).is_empty());
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn prefetch_trickles_while_somebody_waits() {
        let mut queue = Queue::default();
        queue.add(unit(1), Class::Demand);
        (2..9).for_each(|index| queue.add(unit(index), Class::Prefetch));
        let taken = queue.next(&WIDE).unwrap();
        assert_eq!(taken.unit.first(), 1);
        assert_eq!(queue.next(&WIDE).unwrap().unit.first(), 2);
        queue.planned(Class::Prefetch, 0);
        assert!(queue.next(&WIDE).is_none());
        queue.count(Class::Demand, -1, 0);
        assert_eq!(queue.next(&WIDE).unwrap().unit.first(), 3);
    }

    #[test]
    fn a_chunk_under_way_is_no_neighbour_and_one_to_be_asked_for_alone_neither() {
        let mut queue = Queue::default();
        queue.add(unit(1), Class::Demand);
        queue.next(&WIDE).unwrap();
        assert_eq!(queue.take_neighbour(&unit(1), Class::Demand, true), None);
        let (tell, _told) = oneshot::channel();
        queue.attach(unit(2), Class::Demand, 1, tell);
        assert_eq!(queue.take_neighbour(&unit(2), Class::Demand, true), None);
        assert_eq!(queue.take_neighbour(&unit(3), Class::Demand, false), None);
        assert_eq!(
            queue.take_neighbour(&unit(3), Class::Readahead, true),
            Some(false)
        );
        assert!(queue.has(&unit(3)));
    }

    #[test]
    fn what_arrived_is_at_hand_until_it_leaves() {
        let mut queue = Queue::default();
        let (tell, mut told) = oneshot::channel();
        queue.attach(unit(1), Class::Demand, 0, tell);
        queue.next(&WIDE).unwrap();
        let arrived = Arrived {
            bytes: Bytes::from_static(b"x"),
            source: 0,
            bad: None,
        };
        assert!(queue.arrive(&unit(1), arrived));
        assert!(told.try_recv().unwrap().is_ok());
        let (tell, _told) = oneshot::channel();
        let late = queue.attach(unit(1), Class::Demand, 0, tell);
        assert!(matches!(late, Attached::Here(_)));
        queue.leave(&unit(1), || Fault::Lost);
        assert_eq!(queue.len(), 0);
    }
}
