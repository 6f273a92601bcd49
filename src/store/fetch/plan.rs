//! One request out of a chunk and its neighbours in the blob.

use super::link::Limits;
use super::queue::Taken;
use super::unit::Unit;
use crate::backend::Class;
use crate::store::Store;
use crate::store::bounds::Permit;
use crate::store::claim::Claim;

/// Longest request in bytes, and the length up to which any link gets
/// neighbours that wait anyway.
const LONGEST: u64 = 8 << 20;
const ALWAYS: u64 = 256 << 10;

/// Most chunks of a request.
const PARTS: usize = 1024;

/// Bytes that are fetched and thrown away rather than asking twice: at least,
/// and at most.
const GAP: std::ops::RangeInclusive<u64> = 2 << 10..=128 << 10;

/// Most bytes fetched behind a chunk that a reader waits for, though nobody
/// asked for them.
const GUESS: u64 = 2 << 20;

/// A unit of a request, with what must be held until it is in the cache.
pub(super) struct Part {
    pub(super) unit: Unit,
    /// Whether nobody asked for it: it came along.
    pub(super) guessed: bool,
    pub(super) _claim: Option<Claim>,
    pub(super) _room: Permit,
}

/// A request: one range of one blob, and the units in it in ascending order.
pub(super) struct Plan {
    pub(super) class: Class,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) parts: Vec<Part>,
}

/// How far a plan may go.
struct Reach {
    /// Bytes of the whole request.
    most: u64,
    /// Bytes between two chunks.
    gap: u64,
    /// Bytes that nobody asked for.
    guess: u64,
}

impl Reach {
    fn of(taken: &Taken, limits: &Limits) -> Self {
        let readers = u64::try_from(taken.readers.max(1)).unwrap_or(1);
        let (most, guess) = match taken.class {
            Class::Demand => (
                limits.round_trip.max(ALWAYS),
                (limits.round_trip / readers).min(GUESS),
            ),
            Class::Readahead => ((limits.readahead / 2).max(ALWAYS), 0),
            Class::Prefetch if taken.readers > 0 => (limits.trickle, 0),
            Class::Prefetch => ((limits.prefetch / 2).max(ALWAYS), 0),
        };
        // An extent has brought neighbours already: all that comes along with a
        // chunk stays within the same bound.
        let guess = match taken.unit {
            Unit::Extent(extent) => guess.min(GUESS.saturating_sub(extent.len.into())),
            Unit::Chunk(_) => guess,
        };
        Self {
            most: most.min(LONGEST),
            gap: (limits.round_trip / 4).clamp(*GAP.start(), *GAP.end()),
            guess: if taken.avoid == 0 { guess } else { 0 },
        }
    }
}

impl Store {
    /// Plans the request for a chunk that was taken out of the queue. May wait
    /// for the disk. None: it is in the cache, or another process fetches it.
    pub(super) fn plan(&self, taken: &Taken, limits: &Limits) -> Option<Plan> {
        let unit = taken.unit;
        let first = if taken.owned {
            Part {
                unit,
                guessed: false,
                _claim: None,
                _room: None,
            }
        } else {
            self.hold(&unit)?
        };
        let mut plan = Plan {
            class: taken.class,
            offset: unit.stored_offset(),
            len: u64::from(unit.stored_len()),
            parts: Vec::new(),
        };
        if taken.avoid != 0 {
            plan.parts.push(first);
            return Some(plan);
        }
        let reach = Reach::of(taken, limits);
        if taken.class != Class::Demand {
            self.step_back(&mut plan, unit, &reach);
        }
        plan.parts.push(first);
        self.extend(&mut plan, unit, reach);
        Some(plan)
    }

    /// Adds neighbours that wait in front of the first chunk: those who want
    /// many chunks at once do not always come in order.
    fn step_back(&self, plan: &mut Plan, first: Unit, reach: &Reach) {
        let mut start = first;
        while let Some(before) = start.first().checked_sub(1) {
            let Some(next) = self.unit_at(first.blob(), before) else {
                break;
            };
            let end = next.stored_offset().checked_add(next.stored_len().into());
            let len = plan.len + u64::from(next.stored_len());
            if end != Some(start.stored_offset())
                || len > reach.most
                || plan.parts.len() + 1 >= PARTS
                || !self.fetcher.queue.lock().waits(&next)
            {
                break;
            }
            let taken = self
                .fetcher
                .queue
                .lock()
                .take_neighbour(&next, plan.class, false);
            let part = match taken {
                Some(true) => Part {
                    unit: next,
                    guessed: false,
                    _claim: None,
                    _room: None,
                },
                Some(false) => match self.hold(&next) {
                    Some(part) => part,
                    None => {
                        self.fetcher.drop_quietly(&next);
                        break;
                    }
                },
                None => break,
            };
            plan.parts.push(part);
            plan.offset = next.stored_offset();
            plan.len = len;
            start = next;
        }
        plan.parts.reverse();
    }

    /// Adds neighbours behind the first chunk.
    fn extend(&self, plan: &mut Plan, first: Unit, mut reach: Reach) {
        let class = plan.class.max(Class::Readahead);
        let mut index = first.end();
        loop {
            let end = plan.offset + plan.len;
            let Some(next) = self.unit_at(first.blob(), index) else {
                return;
            };
            // Each step goes on, whatever the tables of the blob say.
            index = next.end().max(index.saturating_add(1));
            let gap = next.stored_offset().checked_sub(end);
            let Some(gap) = gap.filter(|&gap| gap <= reach.gap) else {
                return;
            };
            let more = gap + u64::from(next.stored_len());
            if plan.len + more > reach.most || plan.parts.len() >= PARTS {
                return;
            }
            let waiting = {
                let mut queue = self.fetcher.queue.lock();
                let waiting = queue.take_neighbour(&next, class, false);
                if waiting.is_none() && queue.has(&next) {
                    return;
                }
                waiting
            };
            let part = match waiting {
                Some(true) => Part {
                    unit: next,
                    guessed: false,
                    _claim: None,
                    _room: None,
                },
                Some(false) => match self.hold(&next) {
                    Some(part) => part,
                    None => {
                        self.fetcher.drop_quietly(&next);
                        continue;
                    }
                },
                None if self.is_here_whole(&next) || self.unit_is_elsewhere(&next) => continue,
                None => {
                    if more > reach.guess || self.records.is_apart(next.blob(), next.first()) {
                        return;
                    }
                    let Some(part) = self.hold(&next) else { return };
                    let mut queue = self.fetcher.queue.lock();
                    if queue.take_neighbour(&next, class, true).is_none() {
                        return;
                    }
                    reach.guess -= more;
                    Part {
                        guessed: true,
                        ..part
                    }
                }
            };
            plan.parts.push(part);
            plan.len += more;
        }
    }

    /// Memory and claim for a unit that no reader holds them for. None: it is
    /// in the cache, another process fetches it, or memory is short.
    fn hold(&self, unit: &Unit) -> Option<Part> {
        if self.is_here_whole(unit) {
            return None;
        }
        let room = Some(self.bounds().room_now(unit)?);
        let claim = match self.blob_cache_file(unit.blob()) {
            // Someone else may have fetched it between the two looks.
            Some(file) => {
                let claim = match unit {
                    Unit::Chunk(chunk) => file.claim(chunk.index)?,
                    // Readers of its chunks may have it, and the queue sees to
                    // it that it is asked for once.
                    Unit::Extent(_) => file.claim_too(unit.first())?,
                };
                if self.is_here_whole(unit) {
                    return None;
                }
                Some(claim)
            }
            None => None,
        };
        Some(Part {
            unit: *unit,
            guessed: false,
            _claim: claim,
            _room: room,
        })
    }
}
