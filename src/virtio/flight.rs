//! The requests of one queue that are under way, so that a queue can be
//! stopped: no reply is written after [`Flight::stop`] returned.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::task::AbortHandle;
use vhost_user_backend::VringT;
use vm_memory::GuestMemoryMmap;

use super::Ring;
use super::chain::Chain;
use super::memory::destination;
use crate::fs::{Errno, Pieces};
use crate::fuse::ReplyTo;

/// What a read is answered that a stop has overtaken.
const CANCELLED: Errno = Errno(libc::EINTR);

/// A read that waits: all that is needed to answer it.
pub(super) struct Waiting {
    /// Its chain.
    pub(super) chain: Chain,
    /// The memory that the chain was checked against, held for its sake.
    pub(super) memory: Arc<GuestMemoryMmap>,
    /// The queue that it is given back to.
    pub(super) vring: Ring,
    /// How it is answered.
    pub(super) reply: ReplyTo,
}

impl Waiting {
    /// Writes the reply and gives the chain back to the guest.
    fn answer(self, result: Result<Pieces, Errno>) {
        let len = {
            let (mut out, _) = destination(&self.memory, &self.chain.writable);
            self.reply.finish(result, &mut out)
        };
        self.vring.wrote(&self.chain.writable);
        let mut state = self.vring.get_mut();
        let len = u32::try_from(len).unwrap_or_default();
        let given = self.vring.give_back(&mut state, self.chain.head, len);
        if let Err(error) = given {
            log::debug!("Cannot return a descriptor to the guest: {error}");
        }
    }
}

/// Waiting reads and the work that cannot be called off any more.
#[derive(Default)]
struct State {
    waiting: HashMap<u64, (Waiting, Option<AbortHandle>)>,
    next: u64,
    /// Threads that are serving the queue or writing a reply.
    busy: usize,
    stopping: bool,
    closed: bool,
}

/// The requests of one queue that are under way.
#[derive(Default)]
pub(super) struct Flight {
    state: Mutex<State>,
    changed: Condvar,
}

/// Says that the queue is being served, until it is dropped.
pub(super) struct Busy<'a>(&'a Flight);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.state.lock().busy -= 1;
        self.0.changed.notify_all();
    }
}

impl Flight {
    /// Begins to serve the queue; `None` while it is being stopped.
    pub(super) fn enter(&self) -> Option<Busy<'_>> {
        let mut state = self.state.lock();
        if state.stopping || state.closed {
            return None;
        }
        state.busy += 1;
        Some(Busy(self))
    }

    /// Whether the thread that serves the queue should leave it.
    pub(super) fn is_stopping(&self) -> bool {
        let state = self.state.lock();
        state.stopping || state.closed
    }

    /// Notes a read that waits. Returns its number.
    pub(super) fn park(&self, waiting: Waiting) -> u64 {
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        state.waiting.insert(id, (waiting, None));
        id
    }

    /// Names the task that fetches for a read, which a stop aborts.
    pub(super) fn attach(&self, id: u64, task: AbortHandle) {
        match self.state.lock().waiting.get_mut(&id) {
            Some((_, slot)) => *slot = Some(task),
            // Answered in the meantime, or cancelled.
            None => task.abort(),
        }
    }

    /// Answers a read that waited, unless it was cancelled.
    pub(super) fn complete(&self, id: u64, result: Result<Pieces, Errno>) {
        let (waiting, _busy) = {
            let mut state = self.state.lock();
            let Some((waiting, _)) = state.waiting.remove(&id) else {
                return;
            };
            state.busy += 1;
            (waiting, Busy(self))
        };
        waiting.answer(result);
    }

    /// Waits until nothing is under way. Reads that still wait at `reads` are cancelled
    /// and answered with an error. What changes something is carried out all the same,
    /// so its end is waited for until `changes`: a guest that goes on elsewhere must not
    /// be overtaken by its own writes, nor told that they failed.
    pub(super) fn stop(&self, reads: Instant, changes: Instant) {
        self.drain(reads, changes);
        self.state.lock().stopping = false;
    }

    /// As [`Flight::stop`], for good.
    pub(super) fn close(&self, deadline: Instant) {
        self.state.lock().closed = true;
        self.drain(deadline, deadline);
    }

    fn drain(&self, reads: Instant, changes: Instant) {
        let mut state = self.state.lock();
        state.stopping = true;
        while state.busy > 0 || !state.waiting.is_empty() {
            if self.changed.wait_until(&mut state, reads).timed_out() {
                break;
            }
        }
        // The thread that serves the queue may park a read as long as it is
        // there, so cancel until both are gone. It leaves after the request
        // that it has in hand, and writing a reply takes no longer than a copy.
        loop {
            let all = Instant::now() >= changes;
            let over = |waiting: &Waiting| all || waiting.reply.is_read();
            let cancelled = state.waiting.extract_if(|_, (waiting, _)| over(waiting));
            let cancelled: Vec<_> = cancelled.map(|(_, entry)| entry).collect();
            if cancelled.is_empty() {
                match (state.waiting.is_empty(), state.busy) {
                    (true, 0) => return,
                    (true, _) => self.changed.wait(&mut state),
                    (false, _) => drop(self.changed.wait_until(&mut state, changes)),
                }
                continue;
            }
            drop(state);
            log::warn!("Stopping a queue cancelled {} requests", cancelled.len());
            for (waiting, task) in cancelled {
                if let Some(task) = task {
                    task.abort();
                }
                waiting.answer(Err(CANCELLED));
            }
            state = self.state.lock();
        }
    }
}
