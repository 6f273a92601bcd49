//! The device as vhost-user-backend drives it: features, threads, start and
//! stop of queues. One object per connection.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::VhostUserBackend;
use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC,
};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventNotifier};

use super::exit_events::ExitEvents;
use super::queue::{BUDGET, Queue};
use super::{Memory, Ring};
use crate::fuse::Server;

/// How long a stop waits for reads that are under way.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Stops of queues that follow one another within this time share one grace:
/// a VMM stops all queues of a device in a row.
const STOP_ROW: Duration = Duration::from_secs(3);

/// Bytes of the tag in the configuration space (virtio 1.2, 5.11.4).
const TAG_LEN: usize = 36;

/// A vhost-user-fs device during one connection.
pub(super) struct Device {
    queues: Vec<Queue>,
    queue_size: usize,
    /// The configuration space, offered if a tag was given.
    config: Option<Vec<u8>>,
    /// When the current row of stops began.
    stop_began: Mutex<Option<Instant>>,
    /// Exit events that the worker threads read.
    pub(super) exit_events: ExitEvents,
}

impl Device {
    /// A device with one queue for high priority and `request_queues` more, of
    /// up to `queue_size` entries each.
    pub(super) fn new(
        server: &Arc<Server>,
        memory: &Memory,
        request_queues: usize,
        queue_size: u16,
        tag: Option<&str>,
        busy_poll: Duration,
    ) -> Self {
        let budget = Arc::new(Semaphore::new(BUDGET));
        let queues = (0..=request_queues)
            .map(|index| {
                Queue::new(
                    index,
                    server.clone(),
                    memory.clone(),
                    budget.clone(),
                    busy_poll,
                )
            })
            .collect();
        let config = tag.map(|tag| {
            let mut config = tag.as_bytes().to_vec();
            config.resize(TAG_LEN, 0);
            let count = u32::try_from(request_queues).unwrap_or(u32::MAX);
            config.extend_from_slice(&count.to_le_bytes());
            config
        });
        Self {
            queues,
            queue_size: queue_size.into(),
            config,
            stop_began: Mutex::default(),
            exit_events: ExitEvents::default(),
        }
    }

    /// Ends all work at once: what waits is answered with an error, and the
    /// worker threads take nothing new.
    pub(super) fn close(&self) {
        let now = Instant::now();
        for queue in &self.queues {
            queue.flight.close(now);
        }
    }

    /// When the reads of a queue that is being stopped are cancelled.
    fn stop_deadline(&self) -> Instant {
        let now = Instant::now();
        let mut began = self.stop_began.lock();
        let start = match *began {
            Some(start) if now.duration_since(start) < STOP_ROW => start,
            _ => now,
        };
        *began = Some(start);
        start + STOP_GRACE
    }
}

impl VhostUserBackend for Device {
    type Bitmap = ();
    type Vring = Ring;

    fn num_queues(&self) -> usize {
        self.queues.len()
    }

    fn max_queue_size(&self) -> usize {
        self.queue_size
    }

    fn features(&self) -> u64 {
        (1 << VIRTIO_F_VERSION_1)
            | (1 << VIRTIO_RING_F_EVENT_IDX)
            | (1 << VIRTIO_RING_F_INDIRECT_DESC)
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        let mut features = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::RESET_DEVICE;
        if self.config.is_some() {
            features |= VhostUserProtocolFeatures::CONFIG;
        }
        features
    }

    fn reset_device(&self) {
        for queue in &self.queues {
            queue.flight.stop(self.stop_deadline());
        }
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let range = usize::try_from(offset).ok().zip(usize::try_from(size).ok());
        range
            .and_then(|(offset, size)| {
                let config = self.config.as_ref()?;
                config.get(offset..offset.checked_add(size)?)
            })
            .unwrap_or_default()
            .to_vec()
    }

    fn update_memory(&self, _memory: Memory) -> io::Result<()> {
        // The queues share the object that is replaced.
        Ok(())
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        (0..self.queues.len()).map(|index| 1 << index).collect()
    }

    fn exit_event(&self, thread_index: usize) -> Option<(EventConsumer, EventNotifier)> {
        self.exit_events
            .make()
            .inspect_err(|error| {
                log::error!("Cannot make the exit event of queue {thread_index}: {error}");
            })
            .ok()
    }

    fn stop_vring(&self, queue_index: u32) -> io::Result<()> {
        let index = usize::try_from(queue_index).unwrap_or(usize::MAX);
        if let Some(queue) = self.queues.get(index) {
            queue.flight.stop(self.stop_deadline());
        }
        Ok(())
    }

    /// Serves the queue of the thread. Never fails, since an error would end
    /// the thread for good.
    fn handle_event(
        &self,
        _device_event: u16,
        _events: EventSet,
        vrings: &[Ring],
        thread_id: usize,
    ) -> io::Result<()> {
        thread_local! {
            static REQUEST: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        // With one queue per thread, `vrings` is that queue alone and the
        // thread's number is the queue's.
        if let (Some(queue), Some(vring)) = (self.queues.get(thread_id), vrings.first()) {
            REQUEST.with_borrow_mut(|request| queue.process(vring, request));
        }
        Ok(())
    }
}
