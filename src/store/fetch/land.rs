//! Chunks that came in are decompressed, proved, answered and kept.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use super::plan::Part;
use super::ripe::{REST, Ripe, Start, Watch};
use super::unit::Unit;
use super::{Arrived, Fault};
use crate::backend::Class;
use crate::chunk::Chunk;
use crate::extent::{Extent, Extents};
use crate::store::Store;
use crate::store::bounds::Permit;
use crate::store::counters::count;
use crate::store::error::{Damage, StoreError};

/// A unit that came in: however its proof ends, it leaves the queue.
struct Landing {
    store: Arc<Store>,
    unit: Unit,
    fault: Option<(usize, StoreError)>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        // Readers of several chunks may wait for an extent.
        let fault = || match &self.fault {
            Some((source, error)) => Fault::Damaged {
                source: *source,
                error: error.clone(),
            },
            None => Fault::Lost,
        };
        self.store.fetcher.queue.lock().leave(&self.unit, fault);
    }
}

impl Store {
    /// Hands a unit that came in to the workers.
    pub(super) fn land(
        self: &Arc<Self>,
        part: Part,
        source: usize,
        stored: Bytes,
        room: Arc<Permit>,
    ) {
        let unit = part.unit;
        let class = self.fetcher.queue.lock().class(&unit);
        let ripe = Ripe {
            part,
            source,
            stored,
            _room: room,
        };
        let class = class.unwrap_or(Class::Prefetch);
        let start = self.fetcher.ripe.lock().push(ripe, class);
        match start {
            Start::Worker => self.start_worker(),
            Start::Watch => self.watch_guesses(),
            Start::Nothing => {}
        }
        // A reader may have come between the two.
        if class != Class::Demand && self.fetcher.queue.lock().class(&unit) == Some(Class::Demand) {
            self.hurry(&unit);
        }
    }

    /// Has a unit that came in already worked on before others.
    pub(super) fn hurry(self: &Arc<Self>, unit: &Unit) {
        if self.fetcher.ripe.lock().promote(unit, Class::Demand) {
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
        // Nobody waits for it.
        drop(crate::runtime::blocking(move || store.work()));
    }

    /// Works until nothing waits.
    fn work(self: &Arc<Self>) {
        let mut done = None;
        loop {
            let picked = self.fetcher.ripe.lock().pick(done);
            let Some((ripe, class)) = picked else { return };
            let unit = ripe.part.unit;
            // A worker that dies would be missed for ever.
            let finish = AssertUnwindSafe(|| self.finish(ripe));
            if catch_unwind(finish).is_err() {
                log::error!(
                    "Panic while proving {}: report this as a bug",
                    self.unit_name(&unit)
                );
            }
            done = Some(class);
        }
    }

    /// Proves a unit, tells who waits, and keeps it.
    fn finish(self: &Arc<Self>, ripe: Ripe) {
        let Ripe {
            part,
            source,
            stored,
            _room,
        } = ripe;
        let mut landing = Landing {
            store: Arc::clone(self),
            unit: part.unit,
            fault: None,
        };
        let landed = match &part.unit {
            Unit::Chunk(chunk) => self.land_chunk(&part.unit, chunk, source, stored),
            Unit::Extent(extent) => self.land_extent(&part.unit, extent, source, &stored),
        };
        if let Err(reason) = landed {
            self.sources.lied(source);
            count(&self.counters.proof_failures_source);
            landing.fault = Some((source, self.damaged(&part.unit, source, reason)));
        }
    }

    fn land_chunk(
        &self,
        unit: &Unit,
        chunk: &Chunk,
        source: usize,
        stored: Bytes,
    ) -> Result<(), Damage> {
        let (bytes, tags) = self.unpack(chunk, stored)?;
        let arrived = Arrived {
            bytes: bytes.clone(),
            source,
            bad: None,
        };
        let class = self.arrive(unit, arrived);
        self.count_landed(class);
        self.keep(chunk, bytes, tags, class == Some(Class::Readahead));
        Ok(())
    }

    /// Proves every chunk of an extent that the image has. What fails is told
    /// to who waits for it; the others are served and kept.
    fn land_extent(
        &self,
        unit: &Unit,
        extent: &Extent,
        source: usize,
        stored: &[u8],
    ) -> Result<(), Damage> {
        let Some(extents) = self.extents(extent.blob) else {
            return Err(Damage::Tables);
        };
        let raw = Bytes::from(self.open_extent(&extents, extent, stored)?);
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for chunk in self.members(extent) {
            match part_of(&extents, extent, &chunk, &raw) {
                Some(bytes) => match self.prove(&chunk, &bytes) {
                    Ok(tags) => good.push((chunk, bytes, tags)),
                    Err(_) => bad.push(chunk.index),
                },
                None => bad.push(chunk.index),
            }
        }
        if !bad.is_empty() {
            self.sources.lied(source);
            count(&self.counters.proof_failures_source);
        }
        let arrived = Arrived {
            bytes: raw.clone(),
            source,
            bad: Some((extents, bad.into())),
        };
        let class = self.arrive(unit, arrived);
        for (chunk, bytes, tags) in good {
            if self.is_resident(&chunk) {
                continue;
            }
            self.count_landed(class);
            self.keep(&chunk, bytes, tags, class == Some(Class::Readahead));
        }
        Ok(())
    }

    fn arrive(&self, unit: &Unit, arrived: Arrived) -> Option<Class> {
        let mut queue = self.fetcher.queue.lock();
        queue.arrive(unit, arrived);
        queue.class(unit)
    }

    fn count_landed(&self, class: Option<Class>) {
        count(&self.counters.fetched_chunks);
        if class != Some(Class::Demand) {
            count(&self.counters.fetched_ahead);
        }
    }
}

/// The bytes of a chunk in the output of its extent.
pub(in crate::store) fn part_of(
    extents: &Extents,
    extent: &Extent,
    chunk: &Chunk,
    raw: &Bytes,
) -> Option<Bytes> {
    let (found, offset) = extents.find(chunk.index)?;
    let end = offset.checked_add(usize::try_from(chunk.len).ok()?)?;
    (found.number == extent.number && end <= raw.len()).then(|| raw.slice(offset..end))
}
