//! A leaf: the events that end a device's worker threads, and their closing.
//!
//! vhost-user-backend takes the readable ends as bare numbers and never closes
//! them, which would cost a few descriptors per reconnect.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use parking_lot::Mutex;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

/// The readable ends that were handed out.
#[derive(Default)]
pub(super) struct ExitEvents(Mutex<Vec<RawFd>>);

impl ExitEvents {
    /// Makes an event for one worker thread.
    pub(super) fn make(&self) -> io::Result<(EventConsumer, EventNotifier)> {
        let flags = EventFlag::NONBLOCK | EventFlag::CLOEXEC;
        let (consumer, notifier) = new_event_consumer_and_notifier(flags)?;
        self.0.lock().push(consumer.as_raw_fd());
        Ok((consumer, notifier))
    }
}

/// Closes the exit events of a device whose worker threads have ended; `take`
/// takes them out of it.
pub(super) fn release<D>(device: Arc<D>, take: impl FnOnce(D) -> ExitEvents) {
    // Every worker thread owns the device, so the last owner knows that they
    // are gone.
    let Ok(device) = Arc::try_unwrap(device) else {
        log::error!("A queue thread outlived its connection; its exit event stays open");
        return;
    };
    for fd in take(device).0.into_inner() {
        // SAFETY: the number was given away by `make` to the worker thread's
        // epoll object, which is gone; nobody else knows it, so it is open and
        // has no owner.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}
