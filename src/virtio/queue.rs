//! Serving one queue: takes requests from the ring until it is empty.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use vhost_user_backend::{VringState, VringT};
use virtio_queue::{QueueOwnedT, QueueT};
use vm_memory::{GuestAddress, GuestAddressSpace, GuestMemoryMmap};

use super::chain::Chain;
use super::flight::{Flight, Waiting};
use super::memory::destination;
use super::pace::{Look, Pace};
use super::{Memory, Ring};
use crate::fs::Errno;
use crate::fuse::{Outcome, Pending, Server};
use crate::log_limit::LogLimit;

/// Unit in which waiting reads are charged against the device's budget.
const BUDGET_UNIT: usize = 4096;

/// Bytes that waiting reads of one device may bring in at once, in units.
pub(super) const BUDGET: usize = (64 << 20) / BUDGET_UNIT;

/// One queue of a device.
pub(super) struct Queue {
    index: usize,
    server: Arc<Server>,
    memory: Memory,
    budget: Arc<Semaphore>,
    faults: LogLimit,
    pace: Pace,
    /// Heads that are to be served again.
    left: Mutex<Vec<u16>>,
    pub(super) flight: Arc<Flight>,
}

impl Queue {
    /// Queue `index` of a device whose waiting reads share `budget`. Its thread
    /// looks for requests for up to `busy_poll` before it sleeps, where that
    /// pays.
    pub(super) fn new(
        index: usize,
        server: Arc<Server>,
        memory: Memory,
        budget: Arc<Semaphore>,
        busy_poll: Duration,
    ) -> Self {
        Self {
            index,
            server,
            memory,
            budget,
            faults: LogLimit::new(),
            pace: Pace::new(busy_poll),
            left: Mutex::default(),
            flight: Arc::default(),
        }
    }

    /// Serves what the guest has put into the ring.
    pub(super) fn process(&self, vring: &Ring, request: &mut Vec<u8>) {
        let Some(_busy) = self.flight.enter() else {
            return;
        };
        self.pace.woken();
        self.serve_again(vring, request);
        self.serve_all(vring, request);
        self.pace.sleeps();
    }

    fn serve_all(&self, vring: &Ring, request: &mut Vec<u8>) {
        let mut again = false;
        loop {
            if !set_notification(vring, false) {
                return;
            }
            let mut served = self.drain(vring, request);
            while self.pace.look(|| self.look(vring)) {
                let more = self.drain(vring, request);
                served += more;
                if more == 0 {
                    break;
                }
            }
            // More in the ring after a round that could take nothing is a ring
            // that makes no sense; the next kick tries again.
            let stuck = again && served == 0;
            again = set_notification(vring, true);
            if !again || stuck || self.flight.is_stopping() {
                return;
            }
        }
    }

    /// Names heads that an earlier process took and did not give back; they are served
    /// before what is new.
    pub(super) fn set_left(&self, heads: Vec<u16>) {
        *self.left.lock() = heads;
    }

    /// Whether something of an earlier process is still to be served.
    pub(super) fn has_left(&self) -> bool {
        !self.left.lock().is_empty()
    }

    /// Serves what an earlier process left, if the ring runs.
    fn serve_again(&self, vring: &Ring, request: &mut Vec<u8>) {
        let runs = {
            let state = vring.get_ref();
            state.is_enabled() && state.get_queue().ready()
        };
        if runs {
            self.serve_left(vring, request);
        }
    }

    /// Serves what an earlier process left, also in a ring that is being stopped:
    /// where it goes on these are not looked for any more.
    pub(super) fn serve_left(&self, vring: &Ring, request: &mut Vec<u8>) {
        let left = std::mem::take(&mut *self.left.lock());
        for head in left {
            let memory = self.memory.memory();
            let chain = {
                let state = vring.get_ref();
                let table = state.get_queue().desc_table();
                Chain::at(head, GuestAddress(table), state.get_queue().size(), &memory)
            };
            if let Some((head, len)) = self.serve(chain, vring, &memory, request, true) {
                let mut state = vring.get_mut();
                if let Err(error) = vring.give_back(&mut state, head, len) {
                    self.fault(&format_args!("its used ring cannot be written: {error}"));
                }
            }
        }
    }

    /// Serves until the ring is empty. Returns the number of requests taken.
    fn drain(&self, vring: &Ring, request: &mut Vec<u8>) -> usize {
        let mut served = 0;
        let mut used = None;
        loop {
            // Anew for each request: memory may be plugged in while we serve.
            let memory = self.memory.memory();
            let chain = {
                let mut state = vring.get_mut();
                if let Some((head, len)) = used.take() {
                    // At once: the guest works on this reply while we make the
                    // next, and while it does it asks for no more interrupts.
                    if let Err(error) = vring.give_back(&mut state, head, len) {
                        self.fault(&format_args!("its used ring cannot be written: {error}"));
                    }
                }
                let Some(chain) = self.next(&mut state, &memory) else {
                    return served;
                };
                vring.took(chain.head);
                chain
            };
            served += 1;
            used = self.serve(chain, vring, &memory, request, false);
        }
    }

    /// Whether there is a request in the ring.
    fn look(&self, vring: &Ring) -> Look {
        let memory = self.memory.memory();
        let state = vring.get_ref();
        let queue = state.get_queue();
        if !state.is_enabled() || !queue.ready() || self.flight.is_stopping() {
            return Look::GiveUp;
        }
        match queue.avail_idx(&*memory, Ordering::Acquire) {
            Ok(index) if index.0 == queue.next_avail() => Look::Empty,
            Ok(_) => Look::Ready,
            Err(_) => Look::GiveUp,
        }
    }

    /// Takes the next request out of the ring; `None` when it is empty, makes no
    /// sense, or is not ours to touch.
    fn next(&self, state: &mut VringState<Memory>, memory: &GuestMemoryMmap) -> Option<Chain> {
        if !state.is_enabled() || !state.get_queue().ready() || self.flight.is_stopping() {
            return None;
        }
        let queue = state.get_queue_mut();
        let size = queue.size();
        // The lock of the ring is held here, so a guest that goes on making up
        // heads must not keep us.
        for _ in 0..size {
            let chain = match queue.iter(memory) {
                Ok(mut iter) => iter.next(),
                Err(error) => {
                    self.fault(&format_args!("its available ring makes no sense: {error}"));
                    return None;
                }
            };
            match chain? {
                // There is no way to give back a head that does not exist.
                chain if chain.head_index() >= size => {
                    self.fault(&format_args!("descriptor {} is none", chain.head_index()));
                }
                chain => {
                    let (head, table) = (chain.head_index(), GuestAddress(queue.desc_table()));
                    return Some(Chain::at(head, table, size, memory));
                }
            }
        }
        None
    }

    /// Serves one request. Returns what to put into the used ring, or `None`
    /// if that happens later.
    fn serve(
        &self,
        chain: Chain,
        vring: &Ring,
        memory: &vm_memory::GuestMemoryLoadGuard<GuestMemoryMmap>,
        request: &mut Vec<u8>,
        again: bool,
    ) -> Option<(u16, u32)> {
        let head = chain.head;
        let sound = chain.gather(memory, request);
        vring.identify(head, request);
        let (mut out, there) = destination(memory, &chain.writable);
        let payload = match sound && there {
            true => chain.payload(memory, request),
            false => None,
        };
        let outcome = if let Some(payload) = payload {
            match again {
                false => self.server.handle_with(request, payload, &mut out),
                true => self.server.handle_again(request, payload, &mut out),
            }
        } else {
            self.fault(&"a request lies outside its memory or has no end");
            self.server.refuse(request, Errno(libc::EFAULT), &mut out)
        };
        drop(out);
        match outcome {
            Outcome::Done(len) => {
                vring.wrote(&chain.writable);
                Some((head, u32::try_from(len).unwrap_or_default()))
            }
            Outcome::NoReply => Some((head, 0)),
            Outcome::Pending(Pending { reply, read }) => {
                let size = reply.size();
                let id = self.flight.park(Waiting {
                    chain,
                    memory: memory.clone().into_inner(),
                    vring: vring.clone(),
                    reply,
                });
                self.spawn(id, size, read);
                None
            }
        }
    }

    /// Fetches for the waiting read `id` and then answers it.
    fn spawn(&self, id: u64, size: usize, read: crate::fs::PendingRead) {
        let runtime = match crate::runtime::handle() {
            Ok(runtime) => runtime,
            Err(error) => {
                log::error!("Cannot start the threads that fetch, answering EIO: {error}");
                self.flight.complete(id, Err(Errno::EIO));
                return;
            }
        };
        let (flight, budget) = (self.flight.clone(), self.budget.clone());
        let units = u32::try_from(size.div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX);
        let task = runtime.spawn(async move {
            // The semaphore is never closed.
            let _permit = budget.acquire_many(units).await;
            let result = AssertUnwindSafe(read).catch_unwind().await;
            let result = result.unwrap_or_else(|_| {
                log::error!("A fetch panicked, answered with EIO; report this as a bug");
                Err(Errno::EIO)
            });
            flight.complete(id, result);
        });
        self.flight.attach(id, task.abort_handle());
    }

    /// Logs something that a sound guest does not do.
    fn fault(&self, what: &dyn std::fmt::Display) {
        if let Some(count) = self.faults.count() {
            let index = self.index;
            log::warn!("Queue {index} of the guest is faulty ({count}): {what}");
        }
    }
}

/// Asks the guest to kick on new requests, or not to. Returns, when it is asked
/// to, whether there are new requests already; else whether the queue runs.
fn set_notification(vring: &Ring, enable: bool) -> bool {
    let mut state = vring.get_mut();
    // A stopped ring is not ours to write to.
    if !state.get_queue().ready() {
        return false;
    }
    let more = match enable {
        true => state.enable_notification().unwrap_or(false),
        false => {
            if let Err(error) = state.disable_notification() {
                log::debug!("Cannot write to the ring: {error}");
            }
            true
        }
    };
    vring.wrote_used_ring(&state);
    more
}
