//! The device as one VMM sees it: its queues, what they are served by, and the work
//! that is under way when they stop. One object per connection.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use vhost_user_backend::VringT;
use virtio_queue::QueueT;
use vm_memory::{GuestAddress, GuestAddressSpace};

use super::chain::Chain;
use super::queue::{BUDGET, Queue};
use super::record::{OwnRecord, RingPlace, RingState, SharedRecord};
use super::serve::ServeOptions;
use super::{Memory, Ring};
use crate::fuse::Server;

/// How long a stop waits for reads that are under way.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How long for writes, syncs and the like, which a disk may keep.
const CHANGE_GRACE: Duration = Duration::from_secs(30);

/// Stops of queues that follow one another within this time share one grace:
/// a VMM stops all queues of a device in a row.
const STOP_ROW: Duration = Duration::from_secs(3);

/// Bytes of the tag in the configuration space (virtio 1.2, 5.11.4).
const TAG_LEN: usize = 36;

/// Bytes of a request that tell it from others.
const HEAD_LEN: usize = 24;

/// A vhost-user-fs device during one connection.
pub(super) struct Device {
    pub(super) memory: Memory,
    pub(super) server: Arc<Server>,
    queues: Vec<Queue>,
    pub(super) rings: Vec<Ring>,
    pub(super) queue_size: u16,
    /// The configuration space, offered if a tag was given.
    pub(super) config: Option<Vec<u8>>,
    /// When the current row of stops began.
    stop_began: Mutex<Option<Instant>>,
    own: Option<OwnRecord>,
}

impl Device {
    /// A device with one queue for high priority and the request queues of the
    /// options.
    ///
    /// # Errors
    /// When the record of requests cannot be had.
    pub(super) fn new(server: &Arc<Server>, options: &ServeOptions) -> io::Result<Self> {
        let memory = Memory::new(vm_memory::GuestMemoryMmap::new());
        let budget = Arc::new(Semaphore::new(BUDGET));
        let count = options.request_queues + 1;
        let queues = (0..count)
            .map(|index| {
                Queue::new(
                    index,
                    server.clone(),
                    memory.clone(),
                    budget.clone(),
                    options.busy_poll,
                )
            })
            .collect();
        let ring = |_| Ring::new(memory.clone(), options.queue_size);
        let rings: Result<Vec<_>, _> = (0..count).map(ring).collect();
        let config = options.tag.as_ref().map(|tag| {
            let mut config = tag.as_bytes().to_vec();
            config.resize(TAG_LEN, 0);
            let count = u32::try_from(options.request_queues).unwrap_or(u32::MAX);
            config.extend_from_slice(&count.to_le_bytes());
            config
        });
        let own = options.record.as_ref();
        let own = own.map(|dir| OwnRecord::open(dir, count, options.queue_size));
        Ok(Self {
            memory,
            server: Arc::clone(server),
            queues,
            rings: rings.map_err(io::Error::other)?,
            queue_size: options.queue_size,
            config,
            stop_began: Mutex::default(),
            own: own.transpose()?,
        })
    }

    /// Serves what is in the ring of a queue.
    pub(super) fn process(&self, index: usize, request: &mut Vec<u8>) {
        if let (Some(queue), Some(ring)) = (self.queues.get(index), self.rings.get(index)) {
            queue.process(ring, request);
        }
    }

    /// Prepares a ring whose addresses are set for its start: goes on where an
    /// earlier process was ended, if a record says where. `shared` is the record that
    /// the VMM keeps.
    pub(super) fn begin(&self, index: usize, shared: Option<&SharedRecord>) {
        let (Some(queue), Some(ring)) = (self.queues.get(index), self.rings.get(index)) else {
            return;
        };
        queue.set_left(Vec::new());
        let memory = self.memory.memory();
        let (place, state) = {
            let vring = ring.get_ref();
            let queue = vring.get_queue();
            let order = std::sync::atomic::Ordering::Acquire;
            let (Ok(used), Ok(available)) = (
                queue.used_idx(&*memory, order),
                queue.avail_idx(&*memory, order),
            ) else {
                // Not in memory: the ring is left alone when it is served, too.
                return;
            };
            let place = RingPlace {
                descriptors: queue.desc_table(),
                available: queue.avail_ring(),
                used: queue.used_ring(),
                size: queue.size(),
            };
            let state = RingState {
                used: used.0,
                available: available.0,
            };
            (place, state)
        };
        let (tracker, resume) = match (shared, &self.own) {
            (Some(shared), _) => {
                let tracker = shared.tracker(index, place.size);
                let resume = tracker.as_ref().map(|it| it.resume_shared(state));
                (tracker, resume)
            }
            (None, Some(own)) => {
                let request = |head| {
                    let table = GuestAddress(place.descriptors);
                    let chain = Chain::at(head, table, place.size, &memory);
                    chain.first_bytes(&memory, HEAD_LEN)
                };
                let found = own.tracker(index, place, state, request);
                found.map_or((None, None), |(tracker, resume)| (Some(tracker), resume))
            }
            (None, None) => (None, None),
        };
        ring.track(tracker);
        let Some(resume) = resume else {
            return;
        };
        if !resume.heads.is_empty() {
            log::warn!(
                "Queue {index} goes on where an earlier process was ended: {} requests are served again",
                resume.heads.len()
            );
        }
        ring.set_queue_next_avail(resume.next_avail);
        ring.set_queue_next_used(state.used);
        queue.set_left(resume.heads);
    }

    /// Ends all work at once: what waits is answered with an error, and the
    /// worker threads take nothing new.
    pub(super) fn close(&self) {
        let now = Instant::now();
        for queue in &self.queues {
            queue.flight.close(now);
        }
        for (queue, ring) in self.queues.iter().zip(&self.rings) {
            if queue.has_left() {
                // The next connection finds it in the record.
                ring.track(None);
            } else {
                ring.end_record();
            }
        }
    }

    /// Waits until nothing of a queue is under way, for as long as stops may take.
    pub(super) fn stop(&self, index: usize) {
        if let (Some(queue), Some(ring)) = (self.queues.get(index), self.rings.get(index)) {
            queue.serve_left(ring, &mut Vec::new());
            let reads = self.stop_deadline();
            queue.flight.stop(reads, reads + CHANGE_GRACE);
            ring.end_record();
        }
    }

    /// As [`Device::stop`], for all queues.
    pub(super) fn stop_all(&self) {
        for index in 0..self.queues.len() {
            self.stop(index);
        }
    }

    /// A part of the configuration space; nothing when it is not all there.
    pub(super) fn config(&self, offset: u32, size: u32) -> Vec<u8> {
        let range = usize::try_from(offset).ok().zip(usize::try_from(size).ok());
        range
            .and_then(|(offset, size)| {
                let config = self.config.as_ref()?;
                config.get(offset..offset.checked_add(size)?)
            })
            .unwrap_or_default()
            .to_vec()
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
