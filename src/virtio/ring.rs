//! A queue with what is kept beside its rings: the record of what is under way, and
//! the log of pages that were written.
//!
//! Its kicks cannot block or end the thread that serves it: a VMM that stops a queue
//! and starts it with a new event may leave the thread with news of the old one.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use rustix::fs::OFlags;
use vhost_user_backend::{VringMutex, VringState, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::{Error, QueueT};

use super::Memory;
use super::chain::Range;
use super::dirty_log::DirtyLog;
use super::record::Tracker;

/// A queue, shared by its thread, the control thread and reads that wait.
#[derive(Clone)]
pub(super) struct Ring {
    vring: VringMutex<Memory>,
    kept: Arc<Kept>,
}

/// What is kept beside the rings.
#[derive(Default)]
struct Kept {
    tracker: Watched<Tracker>,
    log: Watched<DirtyLog>,
}

/// Something that is mostly not there, which is cheap to see.
struct Watched<T> {
    there: AtomicBool,
    what: ArcSwapOption<T>,
}

impl<T> Default for Watched<T> {
    fn default() -> Self {
        Self {
            there: AtomicBool::new(false),
            what: ArcSwapOption::empty(),
        }
    }
}

impl<T> Watched<T> {
    fn swap(&self, what: Option<Arc<T>>) -> Option<Arc<T>> {
        let there = what.is_some();
        let before = self.what.swap(what);
        self.there.store(there, Ordering::SeqCst);
        before
    }

    fn get(&self) -> Option<Arc<T>> {
        if !self.there.load(Ordering::Acquire) {
            return None;
        }
        self.what.load_full()
    }
}

impl<'a> VringStateGuard<'a, Memory> for Ring {
    type G = <VringMutex<Memory> as VringStateGuard<'a, Memory>>::G;
}

impl<'a> VringStateMutGuard<'a, Memory> for Ring {
    type G = <VringMutex<Memory> as VringStateMutGuard<'a, Memory>>::G;
}

impl VringT<Memory> for Ring {
    fn new(memory: Memory, max_queue_size: u16) -> Result<Self, Error> {
        Ok(Self {
            vring: VringMutex::new(memory, max_queue_size)?,
            kept: Arc::default(),
        })
    }

    fn get_ref(&self) -> <Self as VringStateGuard<'_, Memory>>::G {
        self.vring.get_ref()
    }

    fn get_mut(&self) -> <Self as VringStateMutGuard<'_, Memory>>::G {
        self.vring.get_mut()
    }

    /// Never fails and, with what [`Ring::set_kick`] does, never blocks. A kick
    /// that is not there costs a look into the ring.
    fn read_kick(&self) -> io::Result<bool> {
        let state: &VringState<Memory> = &self.get_ref();
        if let Some(kick) = state.get_kick()
            && let Err(error) = kick.consume()
        {
            log::debug!("A kick could not be read: {error}");
        }
        Ok(state.is_enabled())
    }

    fn set_kick(&self, file: Option<File>) {
        if let Some(file) = &file {
            let nonblocking = rustix::fs::fcntl_getfl(file)
                .and_then(|flags| rustix::fs::fcntl_setfl(file, flags | OFlags::NONBLOCK));
            if let Err(error) = nonblocking {
                log::warn!("The VMM's kick event may block its queue: {error}");
            }
        }
        self.vring.set_kick(file);
    }

    fn add_used(&self, head: u16, len: u32) -> Result<(), Error> {
        self.vring.add_used(head, len)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        self.vring.signal_used_queue()
    }

    fn enable_notification(&self) -> Result<bool, Error> {
        self.vring.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), Error> {
        self.vring.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, Error> {
        self.vring.needs_notification()
    }

    fn set_enabled(&self, enabled: bool) {
        self.vring.set_enabled(enabled);
    }

    fn set_queue_info(&self, descriptors: u64, available: u64, used: u64) -> Result<(), Error> {
        self.vring.set_queue_info(descriptors, available, used)
    }

    fn queue_next_avail(&self) -> u16 {
        self.vring.queue_next_avail()
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.vring.set_queue_next_avail(base);
    }

    fn set_queue_next_used(&self, index: u16) {
        self.vring.set_queue_next_used(index);
    }

    fn queue_used_idx(&self) -> Result<u16, Error> {
        self.vring.queue_used_idx()
    }

    fn set_queue_size(&self, size: u16) {
        self.vring.set_queue_size(size);
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.vring.set_queue_event_idx(enabled);
    }

    fn set_queue_ready(&self, ready: bool) {
        self.vring.set_queue_ready(ready);
    }

    fn set_call(&self, file: Option<File>) {
        self.vring.set_call(file);
    }

    fn set_err(&self, file: Option<File>) {
        self.vring.set_err(file);
    }
}

impl Ring {
    /// Has the record kept from now on, or no longer.
    pub(super) fn track(&self, tracker: Option<Tracker>) {
        drop(self.kept.tracker.swap(tracker.map(Arc::new)));
    }

    /// Ends the record in order: nothing is under way.
    pub(super) fn end_record(&self) {
        if let Some(tracker) = self.kept.tracker.swap(None) {
            tracker.end();
        }
    }

    /// Has pages that are written logged from now on, or no longer.
    pub(super) fn log_to(&self, log: Option<Arc<DirtyLog>>) {
        drop(self.kept.log.swap(log));
    }

    /// Notes that a head was taken. The ring's lock is held.
    pub(super) fn took(&self, head: u16) {
        if let Some(tracker) = self.kept.tracker.get() {
            tracker.take(head);
        }
    }

    /// Notes which request stands behind a head.
    pub(super) fn identify(&self, head: u16, request: &[u8]) {
        if let Some(tracker) = self.kept.tracker.get() {
            tracker.identify(head, request);
        }
    }

    /// Notes that `ranges` were written to: all of them, since a read that failed may
    /// have left bytes behind its reply.
    pub(super) fn wrote(&self, ranges: &[Range]) {
        if let Some(log) = self.kept.log.get() {
            log.mark_ranges(ranges);
        }
    }

    /// Notes that something was written to the used ring.
    pub(super) fn wrote_used_ring(&self, state: &VringState<Memory>) {
        if let Some(log) = self.kept.log.get() {
            log.mark_used_ring(state.get_queue());
        }
    }

    /// Says where the rings are. A ring that runs goes on where it is; of one that
    /// does not, the used ring says where, and the VMM where in the available ring.
    ///
    /// # Errors
    /// When an address is none for a ring, or the used ring is not in memory.
    pub(super) fn place(&self, descriptors: u64, available: u64, used: u64) -> Result<(), Error> {
        let runs = {
            let mut state = self.get_mut();
            state.set_queue_info(descriptors, available, used)?;
            state.get_queue().ready()
        };
        if !runs {
            // No thread moves the index of a ring that does not run.
            let used = self.queue_used_idx()?;
            self.set_queue_next_used(used);
        }
        Ok(())
    }

    /// Whether what the guest puts into it is carried out.
    pub(super) fn is_served(&self) -> bool {
        let state = self.get_ref();
        state.is_enabled() && state.get_queue().ready()
    }

    /// Interrupts the guest: a process that put something into the used ring may have
    /// been killed before it did.
    pub(super) fn remind(&self) {
        let state = self.get_ref();
        if state.get_queue().ready()
            && let Err(error) = state.signal_used_queue()
        {
            log::debug!("Cannot interrupt the guest: {error}");
        }
    }

    /// Gives a chain back to the guest, and interrupts it if it wants that. `state` is
    /// the ring's, locked.
    ///
    /// # Errors
    /// When the used ring cannot be written.
    pub(super) fn give_back(
        &self,
        state: &mut VringState<Memory>,
        head: u16,
        len: u32,
    ) -> Result<(), Error> {
        let tracker = self.kept.tracker.get();
        if let Some(tracker) = &tracker {
            tracker.give_back(head);
        }
        let added = state.add_used(head, len);
        if let Some(tracker) = &tracker {
            tracker.given_back(head, state.get_queue().next_used());
        }
        self.wrote_used_ring(state);
        notify(state);
        added
    }
}

/// Interrupts the guest for what is new in the used ring, if it wants that.
fn notify(state: &mut VringState<Memory>) {
    if state.needs_notification().unwrap_or(true)
        && let Err(error) = state.signal_used_queue()
    {
        log::debug!("Cannot interrupt the guest: {error}");
    }
}
