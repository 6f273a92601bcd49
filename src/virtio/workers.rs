//! The threads that serve the queues, one each.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use vhost_user_backend::VringT;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use super::device::Device;
use crate::threads::{self, Kind};

/// Which event it was: somebody wants the thread to look up, or the guest kicked.
const WOKEN: u64 = 0;
const KICKED: u64 = 1;

/// What one thread waits for.
struct Wait {
    epoll: Epoll,
    woken: EventConsumer,
    wake: EventNotifier,
    ending: AtomicBool,
}

/// The threads of a device. They end when this is dropped.
pub(super) struct Workers {
    device: Arc<Device>,
    waits: Vec<Arc<Wait>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts a thread for each queue of the device.
    ///
    /// # Errors
    /// When the system has no threads or descriptors left.
    pub(super) fn start(device: &Arc<Device>) -> io::Result<Self> {
        let mut workers = Self {
            device: Arc::clone(device),
            waits: Vec::new(),
            threads: Vec::new(),
        };
        for index in 0..device.rings.len() {
            let wait = Arc::new(Wait::new()?);
            let (device, waiting) = (Arc::clone(device), Arc::clone(&wait));
            let thread = std::thread::Builder::new()
                .name(format!("queue-{index}"))
                .spawn(move || {
                    threads::begin(Kind::Queue);
                    serve(&device, index, &waiting);
                })?;
            workers.waits.push(wait);
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Has the thread of a queue listen for its kicks while the queue runs, and look
    /// into the ring at once; or not any more.
    ///
    /// # Errors
    /// When the kick is no event.
    pub(super) fn listen(&self, index: usize) -> io::Result<()> {
        let (Some(ring), Some(wait)) = (self.device.rings.get(index), self.waits.get(index)) else {
            return Ok(());
        };
        let state = ring.get_ref();
        let Some(kick) = state.get_kick() else {
            return Ok(());
        };
        if !state.is_enabled() || !queue_is_ready(&state) {
            wait.forget(kick.as_raw_fd());
            return Ok(());
        }
        wait.add(kick.as_raw_fd())?;
        drop(state);
        wait.wake();
        Ok(())
    }

    /// Has the thread of a queue forget the kick that the queue has.
    pub(super) fn forget_kick(&self, index: usize) {
        let (Some(ring), Some(wait)) = (self.device.rings.get(index), self.waits.get(index)) else {
            return;
        };
        if let Some(kick) = ring.get_ref().get_kick() {
            wait.forget(kick.as_raw_fd());
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for wait in &self.waits {
            wait.ending.store(true, Ordering::Release);
            wait.wake();
        }
        for thread in self.threads.drain(..) {
            // What panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Wait {
    fn new() -> io::Result<Self> {
        let flags = EventFlag::NONBLOCK | EventFlag::CLOEXEC;
        let (woken, wake) = new_event_consumer_and_notifier(flags)?;
        let epoll = Epoll::new()?;
        let event = EpollEvent::new(EventSet::IN, WOKEN);
        epoll.ctl(ControlOperation::Add, woken.as_raw_fd(), event)?;
        Ok(Self {
            epoll,
            woken,
            wake,
            ending: AtomicBool::new(false),
        })
    }

    fn add(&self, kick: i32) -> io::Result<()> {
        let event = EpollEvent::new(EventSet::IN, KICKED);
        match self.epoll.ctl(ControlOperation::Add, kick, event) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    fn forget(&self, kick: i32) {
        let event = EpollEvent::default();
        // Not there: it was never listened for.
        let _ = self.epoll.ctl(ControlOperation::Delete, kick, event);
    }

    fn wake(&self) {
        // Fails only when it was written to without end; then it is readable.
        let _ = self.wake.notify();
    }
}

/// Serves one queue until the end.
fn serve(device: &Device, index: usize, wait: &Wait) {
    let mut request = Vec::new();
    let mut events = [EpollEvent::default(); 2];
    while !wait.ending.load(Ordering::Acquire) {
        let count = match wait.epoll.wait(-1, &mut events) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                log::error!("Queue {index} is served no more, its events cannot be had: {error}");
                return;
            }
            Ok(count) => count,
        };
        let Some(ring) = device.rings.get(index) else {
            return;
        };
        // Reading an event that was not notified costs as much as one that was.
        for event in events.iter().take(count) {
            if event.data() == KICKED {
                // It cannot fail, and is only to be quiet again.
                let _ = ring.read_kick();
            } else {
                let _ = wait.woken.consume();
            }
        }
        let enabled = ring.get_ref().is_enabled();
        if enabled {
            device.process(index, &mut request);
        }
    }
}

fn queue_is_ready(state: &vhost_user_backend::VringState<super::Memory>) -> bool {
    use virtio_queue::QueueT as _;
    state.get_queue().ready()
}
