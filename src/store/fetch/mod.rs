//! The fetch scheduler: which chunks are asked for next, in which requests.
//!
//! ```text
//! slow path ─► want (class) ─► queue ─► plan (neighbours) ─► transfer ─► land ─► answer
//!                                ▲                              │
//!                      streams ──┘ readahead          link ◄────┘ what it measured
//! ```
//!
//! * `unit`: what is asked for in one piece: a chunk, or an extent of several.
//! * `queue`: what is wanted, in which order, and what is under way.
//! * `plan`: one request out of a wanted chunk and its neighbours.
//! * `transfer`: a request, its body cut into chunks.
//! * `ripe`, `land`: chunks that came in, each proved, answered and kept, the
//!   most urgent first.
//! * `link`: round trip and bandwidth, from which all sizes follow.
//! * `streams`: readers that go forward, and how far to be ahead of them.
//!
//! No size here is fixed: what is fetched without being asked for is measured
//! in what the link carries in a round trip, since that much costs a reader no
//! more than the wait which it has anyway.

mod ahead;
mod land;
mod link;
mod plan;
mod queue;
mod ripe;
mod streams;
mod transfer;
mod unit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::link::Link;
use self::queue::{Attached, Queue};
use self::ripe::Ripening;
use self::streams::Streams;
use super::Store;
use super::error::StoreError;
use crate::backend::Class;
use crate::backend::sources::Avoid;
use crate::chunk::Chunk;
use crate::extent::Extents;

pub(super) use self::land::part_of;
pub use self::link::LinkFigures;
pub(super) use self::unit::Unit;

/// How long chunks that nobody waits for are gathered before they are asked
/// for.
const GATHER: Duration = Duration::from_millis(1);

/// Bytes of a unit, and where they came from.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) bytes: Bytes,
    pub(super) source: usize,
    /// Of an extent: the tables that say where its chunks are, and those that
    /// failed their proof. All others were proved, and so was a chunk.
    pub(super) bad: Option<(Arc<Extents>, Arc<[u32]>)>,
}

/// Why a fetch gave no chunk.
#[derive(Debug)]
pub(super) enum Fault {
    /// No source delivered, or a delivery broke off.
    Source {
        error: StoreError,
        /// Whether asking again at once may help.
        again: bool,
        /// The source whose delivery broke off, to be asked last from now on.
        broken: Option<usize>,
    },
    /// A source delivered other bytes than the chunk.
    Damaged {
        /// The source, which is to be asked last from now on.
        source: usize,
        error: StoreError,
    },
    /// The task that fetched ended without an answer.
    Lost,
}

/// What became of a wanted chunk.
pub(super) type Outcome = Result<Arrived, Fault>;

/// The scheduler of one store.
#[derive(Default)]
pub(super) struct Fetcher {
    queue: Mutex<Queue>,
    ripe: Mutex<Ripening>,
    link: Link,
    streams: Streams,
    gathering: AtomicBool,
}

impl Fetcher {
    /// What is known of the link.
    pub(super) fn link(&self) -> LinkFigures {
        self.link.figures()
    }
}

/// The answer to a want.
pub(super) enum Wanted {
    /// It came while nobody looked.
    Here(Arrived),
    /// It lies in the cache by now: look again.
    Landed,
    /// It will be told.
    Coming(oneshot::Receiver<Outcome>),
}

impl Store {
    /// Wants the unit of a chunk. `avoid` names sources that are to be asked
    /// last; such a unit is asked for alone. With `may_look`, a chunk that is in
    /// the cache by now is not fetched.
    pub(super) fn want(
        self: &Arc<Self>,
        chunk: &Chunk,
        unit: Unit,
        class: Class,
        avoid: Avoid,
        may_look: bool,
    ) -> Wanted {
        let (tell, told) = oneshot::channel();
        // The look at residency is under the lock: what lands is marked
        // resident before it leaves the queue.
        let attached = {
            let mut queue = self.fetcher.queue.lock();
            if may_look && !queue.has(&unit) && avoid == 0 && self.is_known(chunk) {
                return Wanted::Landed;
            }
            queue.attach(unit, class, avoid, tell)
        };
        if class == Class::Demand {
            self.hurry(&unit);
        }
        match attached {
            Attached::Here(arrived) => return Wanted::Here(arrived),
            Attached::Waiting if class == Class::Demand => self.pump(),
            Attached::Waiting => self.pump_soon(),
        }
        Wanted::Coming(told)
    }

    /// As [`Store::pump`], in a moment: what nobody waits for comes in numbers,
    /// and neighbours are to share a request.
    pub(super) fn pump_soon(self: &Arc<Self>) {
        if self.fetcher.gathering.swap(true, Relaxed) {
            return;
        }
        let store = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(GATHER).await;
            store.fetcher.gathering.store(false, Relaxed);
            store.pump();
        });
    }

    /// Whether nothing is wanted or under way.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.fetcher.queue.lock().len() == 0
    }

    /// Has what nobody waits for stay in the queue until [`Store::pump`] is called.
    #[cfg(test)]
    pub(super) fn gather(&self) {
        self.fetcher.gathering.store(true, Relaxed);
    }

    /// Whether this process fetches a chunk, or is about to.
    pub(super) fn is_wanted(&self, chunk: &Chunk) -> bool {
        let unit = self.unit(chunk);
        unit.is_some_and(|unit| self.fetcher.queue.lock().has(&unit))
    }

    /// Waits until these bytes of a unit are at hand no more.
    pub(super) async fn wait_until_left(&self, unit: &Unit, bytes: &Bytes) {
        while self.fetcher.queue.lock().has_arrived(unit, bytes) {
            tokio::time::sleep(GATHER).await;
        }
    }

    /// A reader waits for a chunk that is wanted for later already.
    pub(super) fn promote(self: &Arc<Self>, chunk: &Chunk, class: Class) {
        if let Some(unit) = self.unit(chunk) {
            self.fetcher.queue.lock().promote(&unit, class);
            self.hurry(&unit);
            self.pump();
        }
    }

    /// Starts requests as long as the limits allow and something is wanted.
    pub(super) fn pump(self: &Arc<Self>) {
        loop {
            let limits = self.fetcher.link.limits();
            let Some(next) = self.fetcher.queue.lock().next(&limits) else {
                return;
            };
            let store = Arc::clone(self);
            tokio::spawn(async move { store.transfer(next).await });
        }
    }
}
