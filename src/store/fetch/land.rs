//! Chunks that came in are decompressed, proved, answered and kept.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use super::plan::Part;
use super::ripe::{REST, Ripe, Start, Watch};
use super::{Arrived, Fault};
use crate::backend::Class;
use crate::chunk::Chunk;
use crate::store::Store;
use crate::store::counters::count;
use crate::store::error::StoreError;

/// A chunk that came in: however its proof ends, it leaves the queue.
struct Landing {
    store: Arc<Store>,
    chunk: Chunk,
    fault: Option<(usize, StoreError)>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut fault = self.fault.take();
        let fault = || match fault.take() {
            Some((source, error)) => Fault::Damaged { source, error },
            None => Fault::Lost,
        };
        self.store.fetcher.queue.lock().leave(&self.chunk, fault);
    }
}

impl Store {
    /// Hands a chunk that came in to the workers.
    pub(super) fn land(self: &Arc<Self>, part: Part, source: usize, stored: Bytes) {
        let chunk = part.chunk;
        let class = self.fetcher.queue.lock().class(&chunk);
        let ripe = Ripe {
            part,
            source,
            stored,
        };
        let class = class.unwrap_or(Class::Prefetch);
        let start = self.fetcher.ripe.lock().push(ripe, class);
        match start {
            Start::Worker => self.start_worker(),
            Start::Watch => self.watch_guesses(),
            Start::Nothing => {}
        }
        // A reader may have come between the two.
        if class != Class::Demand && self.fetcher.queue.lock().class(&chunk) == Some(Class::Demand)
        {
            self.hurry(&chunk);
        }
    }

    /// Has a chunk that came in already worked on before others.
    pub(super) fn hurry(self: &Arc<Self>, chunk: &Chunk) {
        if self.fetcher.ripe.lock().promote(chunk, Class::Demand) {
            self.start_worker();
        }
    }

    /// Has guesses worked on when readers rest, until there are none.
    fn watch_guesses(self: &Arc<Self>) {
        let store = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(REST).await;
                let watch = store.fetcher.ripe.lock().watch();
                match watch {
                    Watch::Worker => store.start_worker(),
                    Watch::Wait => {}
                    Watch::End => return,
                }
            }
        });
    }

    fn start_worker(self: &Arc<Self>) {
        let store = Arc::clone(self);
        tokio::task::spawn_blocking(move || store.work());
    }

    /// Works until nothing waits.
    fn work(self: &Arc<Self>) {
        let mut done = None;
        loop {
            let picked = self.fetcher.ripe.lock().pick(done);
            let Some((ripe, class)) = picked else { return };
            let chunk = ripe.part.chunk;
            // A worker that dies would be missed for ever.
            let finish = AssertUnwindSafe(|| self.finish(ripe));
            if catch_unwind(finish).is_err() {
                log::error!(
                    "Panic while proving {}: report this as a bug",
                    self.name(&chunk)
                );
            }
            done = Some(class);
        }
    }

    /// Proves a chunk, tells who waits, and keeps it.
    fn finish(self: &Arc<Self>, ripe: Ripe) {
        let Ripe {
            part,
            source,
            stored,
        } = ripe;
        let chunk = part.chunk;
        let mut landing = Landing {
            store: Arc::clone(self),
            chunk,
            fault: None,
        };
        match self.unpack(&chunk, stored) {
            Ok((bytes, tags)) => {
                let arrived = Arrived {
                    bytes: bytes.clone(),
                    source,
                };
                let class = {
                    let mut queue = self.fetcher.queue.lock();
                    queue.arrive(&chunk, arrived);
                    queue.class(&chunk)
                };
                let ahead = class == Some(Class::Readahead);
                count(&self.counters.fetched_chunks);
                if class != Some(Class::Demand) {
                    count(&self.counters.fetched_ahead);
                }
                self.keep(&chunk, bytes, tags, ahead);
            }
            Err(reason) => {
                self.sources.lied(source);
                count(&self.counters.proof_failures_source);
                landing.fault = Some((source, self.damaged(&chunk, source, reason)));
            }
        }
    }
}
