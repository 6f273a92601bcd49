//! A queue whose kicks cannot end or block the thread that serves it.
//!
//! vhost-user-backend ends a worker thread for good when its kick cannot be
//! read. That happens without anybody's fault: a VMM that stops a queue and
//! starts it with a new event leaves the thread with news of the old one.

use std::fs::File;
use std::io;

use rustix::fs::OFlags;
use vhost_user_backend::{VringMutex, VringState, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::Error;

use super::Memory;

/// A queue, shared by its thread, the control thread and reads that wait.
#[derive(Clone)]
pub(super) struct Ring(VringMutex<Memory>);

impl<'a> VringStateGuard<'a, Memory> for Ring {
    type G = <VringMutex<Memory> as VringStateGuard<'a, Memory>>::G;
}

impl<'a> VringStateMutGuard<'a, Memory> for Ring {
    type G = <VringMutex<Memory> as VringStateMutGuard<'a, Memory>>::G;
}

impl VringT<Memory> for Ring {
    fn new(memory: Memory, max_queue_size: u16) -> Result<Self, Error> {
        VringMutex::new(memory, max_queue_size).map(Self)
    }

    fn get_ref(&self) -> <Self as VringStateGuard<'_, Memory>>::G {
        self.0.get_ref()
    }

    fn get_mut(&self) -> <Self as VringStateMutGuard<'_, Memory>>::G {
        self.0.get_mut()
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
        self.0.set_kick(file);
    }

    fn add_used(&self, head: u16, len: u32) -> Result<(), Error> {
        self.0.add_used(head, len)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        self.0.signal_used_queue()
    }

    fn enable_notification(&self) -> Result<bool, Error> {
        self.0.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), Error> {
        self.0.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, Error> {
        self.0.needs_notification()
    }

    fn set_enabled(&self, enabled: bool) {
        self.0.set_enabled(enabled);
    }

    fn set_queue_info(&self, descriptors: u64, available: u64, used: u64) -> Result<(), Error> {
        self.0.set_queue_info(descriptors, available, used)
    }

    fn queue_next_avail(&self) -> u16 {
        self.0.queue_next_avail()
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.0.set_queue_next_avail(base);
    }

    fn set_queue_next_used(&self, index: u16) {
        self.0.set_queue_next_used(index);
    }

    fn queue_used_idx(&self) -> Result<u16, Error> {
        self.0.queue_used_idx()
    }

    fn set_queue_size(&self, size: u16) {
        self.0.set_queue_size(size);
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.0.set_queue_event_idx(enabled);
    }

    fn set_queue_ready(&self, ready: bool) {
        self.0.set_queue_ready(ready);
    }

    fn set_call(&self, file: Option<File>) {
        self.0.set_call(file);
    }

    fn set_err(&self, file: Option<File>) {
        self.0.set_err(file);
    }
}

/// Interrupts the guest for what is new in the used ring, if it wants that.
pub(super) fn notify(state: &mut VringState<Memory>) {
    if state.needs_notification().unwrap_or(true)
        && let Err(error) = state.signal_used_queue()
    {
        log::debug!("Cannot interrupt the guest: {error}");
    }
}
