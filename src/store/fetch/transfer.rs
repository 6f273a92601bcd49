//! One request: its body is cut into chunks as it arrives, and each chunk lands
//! as soon as it is complete.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use tokio::time::{Instant, timeout};

use super::plan::{Part, Plan};
use super::queue::Taken;
use super::unit::Unit;
use super::{Fault, Fetcher};
use crate::backend::sources::Opened;
use crate::backend::{BackendError, BlobRange, Class};
use crate::store::Store;
use crate::store::bounds::Permit;
use crate::store::counters::count;

/// Received bytes after which the limits are looked at again.
const STRIDE: u64 = 64 << 10;

/// A request under way. However it ends, its chunks leave the queue and the
/// next request may start.
struct Running {
    store: Arc<Store>,
    class: Class,
    /// Bytes that are counted as under way.
    counted: u64,
    /// Units that have not come yet.
    parts: VecDeque<Part>,
    /// Room for the extents among them.
    room: Arc<Permit>,
    /// Why they will not come.
    fault: Option<Failure>,
}

/// Why a request brought nothing more.
enum Failure {
    /// No source delivered.
    Refused(Arc<BackendError>),
    /// This source's body broke off.
    Broken(Arc<BackendError>, usize),
    /// Nothing came for as long as a reader waits.
    Late,
}

impl Running {
    /// Counts `bytes` as come in.
    fn came(&mut self, bytes: u64) {
        let bytes = bytes.min(self.counted);
        self.counted -= bytes;
        let less = -i64::try_from(bytes).unwrap_or(i64::MAX);
        self.store.fetcher.queue.lock().count(self.class, 0, less);
        self.store.pump();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        {
            let mut queue = self.store.fetcher.queue.lock();
            for part in self.parts.drain(..) {
                queue.leave(&part.unit, || match &self.fault {
                    Some(Failure::Refused(error)) => Fault::Source {
                        error: self.store.fetch_error(&part.unit, error),
                        again: false,
                        broken: None,
                    },
                    Some(Failure::Broken(error, source)) => Fault::Source {
                        error: self.store.fetch_error(&part.unit, error),
                        again: true,
                        broken: Some(*source),
                    },
                    Some(Failure::Late) => Fault::Source {
                        error: self.store.unit_too_late(&part.unit),
                        again: true,
                        broken: None,
                    },
                    None => Fault::Lost,
                });
            }
            let bytes = -i64::try_from(self.counted).unwrap_or(i64::MAX);
            queue.count(self.class, -1, bytes);
        }
        self.store.pump();
    }
}

impl Fetcher {
    /// Takes a unit back that is not needed any more.
    pub(super) fn drop_quietly(&self, unit: &Unit) {
        self.queue.lock().leave(unit, || Fault::Lost);
    }
}

impl Store {
    /// Carries out the request for a chunk that was taken out of the queue.
    pub(super) async fn transfer(self: Arc<Self>, taken: Taken) {
        let (class, first) = (taken.class, taken.unit);
        let mut running = Running {
            store: Arc::clone(&self),
            class,
            counted: u64::from(first.stored_len()),
            parts: VecDeque::from([Part {
                unit: first,
                guessed: false,
                _claim: None,
                _room: None,
            }]),
            room: Arc::default(),
            fault: None,
        };
        let limits = self.fetcher.link.limits();
        let planned = self
            .blocking(move |store| store.plan(&taken, &limits))
            .await;
        let len = planned.as_ref().and_then(|plan| Some(plan.as_ref()?.len));
        let more = len.unwrap_or(0).saturating_sub(running.counted);
        self.fetcher.queue.lock().planned(class, more);
        let Some(Some(plan)) = planned else {
            return;
        };
        running.counted += more;
        if plan.parts.len() > 1 {
            self.note_issued(&plan);
        }
        if class != Class::Demand {
            self.pump();
        }
        let Plan {
            offset, len, parts, ..
        } = plan;
        running.parts = parts.into();
        let owned = running.parts.iter().filter(|part| part._room.is_none());
        let units = owned.map(|part| &part.unit);
        running.room = Arc::new(self.room_for_extents(units, class).await);
        let id = self.id_of(first.blob());
        let range = BlobRange {
            id: &id,
            offset,
            len: usize::try_from(len).unwrap_or(usize::MAX),
            class,
        };
        count(&self.counters.fetches);
        let asked = Instant::now();
        let opening = self.sources.open(range, taken.avoid);
        let opened = match timeout(self.config.deadline, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                count(&self.counters.fetch_errors);
                running.fault = Some(Failure::Refused(Arc::new(error)));
                return;
            }
            Err(_) => {
                running.fault = Some(Failure::Late);
                return;
            }
        };
        let source = opened.source;
        if let Err(error) = self.stream(&mut running, opened, offset, asked).await {
            count(&self.counters.fetch_errors);
            self.sources.broke(source, &error);
            running.fault = Some(Failure::Broken(Arc::new(error), source));
        }
    }

    /// Cuts a body into the chunks of its request.
    async fn stream(
        self: &Arc<Self>,
        running: &mut Running,
        opened: Opened,
        mut at: u64,
        asked: Instant,
    ) -> Result<(), BackendError> {
        let (source, mut body) = (opened.source, opened.body);
        let mut buffer = BytesMut::new();
        let (mut first, mut fresh) = (true, 0);
        let _meter = Meter::begin(self);
        loop {
            let Ok(part) = timeout(self.config.deadline, body.try_next()).await else {
                running.fault = Some(Failure::Late);
                return Ok(());
            };
            let Some(bytes) = part? else { break };
            let got = bytes.len();
            if first {
                self.fetcher.link.answered(asked.elapsed());
                first = false;
            } else {
                self.fetcher.link.received(got);
            }
            let got = u64::try_from(got).unwrap_or(u64::MAX);
            self.counters.fetched_bytes.fetch_add(got, Relaxed);
            fresh += got;
            self.cut(running, &mut buffer, bytes, &mut at, source);
            if fresh >= STRIDE {
                running.came(fresh);
                fresh = 0;
            }
        }
        Ok(())
    }

    /// Lands every chunk that `bytes` complete. `at` is the blob's offset of
    /// the first buffered byte.
    fn cut(
        self: &Arc<Self>,
        running: &mut Running,
        buffer: &mut BytesMut,
        mut bytes: Bytes,
        at: &mut u64,
        source: usize,
    ) {
        while let Some(part) = running.parts.front() {
            let unit = part.unit;
            let len = usize::try_from(unit.stored_len()).unwrap_or(usize::MAX);
            if buffer.is_empty() {
                // Bytes between chunks.
                let gap = unit.stored_offset().saturating_sub(*at);
                let gap = usize::try_from(gap).unwrap_or(usize::MAX).min(bytes.len());
                bytes.advance(gap);
                *at += u64::try_from(gap).unwrap_or(u64::MAX);
                if bytes.is_empty() {
                    return;
                }
            }
            let stored = if buffer.is_empty() && bytes.len() >= len {
                bytes.split_to(len)
            } else {
                let missing = len.saturating_sub(buffer.len()).min(bytes.len());
                if buffer.is_empty() {
                    buffer.reserve(len);
                }
                buffer.extend_from_slice(&bytes.split_to(missing));
                if buffer.len() < len {
                    return;
                }
                buffer.split().freeze()
            };
            *at += u64::from(unit.stored_len());
            if let Some(part) = running.parts.pop_front() {
                self.land(part, source, stored, Arc::clone(&running.room));
            }
        }
    }
}

/// Tells the link that a body is being read, until dropped.
struct Meter<'a>(&'a Fetcher);

impl<'a> Meter<'a> {
    fn begin(store: &'a Store) -> Self {
        store.fetcher.link.begin();
        Self(&store.fetcher)
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.0.link.end();
    }
}
