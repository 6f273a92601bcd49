//! The slow path: a chunk out of the cache if it proves, else from a source,
//! proved, and into the cache. All bytes stay in private memory until they are
//! proved.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Store;
use super::claim::Claim;
use super::counters::count;
use super::error::{Damage, StoreError};
use super::fetch::{Arrived, Fault, Outcome, Unit, Wanted, part_of};
use super::flight::Urgency;
use super::local::Local;
use crate::backend::Class;
use crate::chunk::Chunk;

/// Times that a chunk is fetched before it is called damaged. A source may be
/// one of many behind one name, of which some are bad, so the next answer may
/// be right.
const ATTEMPTS: u32 = 6;

/// Pause before a chunk is asked for again the second time; it doubles.
const PAUSE: Duration = Duration::from_millis(20);

/// Attempts after which the tables that place a chunk are brought anew: they may
/// be wrong too.
const DOUBTS: [u32; 2] = [1, 3];

/// Times that a chunk is looked for in the cache because it was said to be
/// there or to come.
const LOOKS: u32 = 4;

/// How long another process is trusted to fetch a chunk, as a share of the
/// deadline, and the first and the longest pause between two looks.
const PATIENCE: u32 = 3;
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(16);

impl Store {
    /// The proved bytes of a chunk that was validated.
    pub(super) async fn bring(
        self: &Arc<Self>,
        chunk: Chunk,
        urgency: &Urgency,
    ) -> Result<Bytes, StoreError> {
        let _room = self.bounds().room(&chunk, urgency.class()).await;
        let (mut damage, mut doubted) = (None, false);
        for look in 1.. {
            if let Some(bytes) = self.spare.get(&chunk) {
                let copy = bytes.clone();
                let late = self.blocking(move |store| store.keep_late(&chunk, &copy));
                if late.await != Some(true) {
                    return Ok(bytes);
                }
            }
            let local = match self.blocking(move |store| store.look(&chunk)).await {
                Some(Local::Unproved(bytes)) => self.prove_local(chunk, bytes).await,
                Some(local) => local,
                None => Local::Absent(None),
            };
            let claim = match local {
                Local::Good(bytes) => return Ok(bytes),
                Local::Absent(claim) => claim,
                // This process fetches it along with others.
                Local::Elsewhere if self.is_wanted(&chunk) => None,
                Local::Elsewhere if look < LOOKS => match self.wait_for_other(chunk).await {
                    Some(claim) => claim,
                    None => continue,
                },
                Local::Elsewhere | Local::Unproved(_) => None,
                // It may have been evicted and written anew while it was read.
                Local::Damaged(_) if !doubted => {
                    doubted = true;
                    self.blocking(move |store| store.was_evicted(&chunk)).await;
                    continue;
                }
                Local::Damaged(cause) => {
                    damage = Some(cause);
                    let quarantine = move |store: &Self| store.quarantine(&chunk, cause);
                    self.blocking(quarantine).await.flatten()
                }
            };
            if damage.is_none()
                && let Some(bytes) = self.copy_from_elsewhere(chunk).await
            {
                return Ok(bytes);
            }
            let fetched = self.fetch(chunk, urgency, look < LOOKS).await?;
            drop(claim);
            let Some(arrived) = fetched else { continue };
            if let Some(cause) = damage {
                count(&self.counters.repairs);
                log::info!(
                    "Repaired {}: {cause}; fetched anew from {} and proved",
                    self.name(&chunk),
                    self.sources.describe(arrived.source)
                );
            }
            return Ok(arrived.bytes);
        }
        Err(lost(&chunk))
    }

    /// Waits for a chunk that another process fetches. None: it is there.
    /// Otherwise the chunk is for this process to fetch: the other gave up, or
    /// took too long.
    async fn wait_for_other(self: &Arc<Self>, chunk: Chunk) -> Option<Option<Claim>> {
        let end = tokio::time::Instant::now() + self.config.deadline / PATIENCE;
        let mut pause = FIRST_LOOK;
        loop {
            tokio::time::sleep(pause).await;
            let local = self.blocking(move |store| store.look_again(&chunk)).await?;
            match local {
                Local::Absent(claim) => return Some(claim),
                // Who fetches it may be another reader of this process, who wants
                // another chunk of the same extent.
                Local::Elsewhere if self.is_wanted(&chunk) => return Some(None),
                Local::Elsewhere if tokio::time::Instant::now() < end => {}
                Local::Elsewhere => return Some(None),
                Local::Good(_) | Local::Unproved(_) | Local::Damaged(_) => return None,
            }
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    /// Has a chunk fetched, proved and kept. None (only if `may_look`): it is
    /// in the cache by now, or was to be.
    async fn fetch(
        self: &Arc<Self>,
        chunk: Chunk,
        urgency: &Urgency,
        may_look: bool,
    ) -> Result<Option<Arrived>, StoreError> {
        let (mut attempt, mut avoid) = (0, 0);
        let mut pause = PAUSE;
        loop {
            let class = urgency.class();
            self.need_tables(&chunk, class, avoid).await?;
            let Some(unit) = self.unit(&chunk) else {
                return Err(self.no_extent(&chunk));
            };
            let told = match self.want(&chunk, unit, class, avoid, may_look) {
                Wanted::Here(arrived) => Ok(Ok(arrived)),
                Wanted::Landed => return Ok(None),
                Wanted::Coming(told) => Err(told),
            };
            // A reader may have come between the two.
            let now = urgency.class();
            if now < class {
                self.promote(&chunk, now);
            }
            if class == Class::Demand && attempt == 0 {
                self.touched(&chunk);
            }
            attempt += 1;
            let told = match told {
                Ok(told) => told,
                Err(told) => told.await.unwrap_or(Err(Fault::Lost)),
            };
            let picked = match told {
                Ok(arrived) => {
                    let all = arrived.bytes.clone();
                    let picked = self.pick(&chunk, arrived);
                    if picked.is_err() {
                        // Its other chunks are being kept: until that is done
                        // it would be given again.
                        self.wait_until_left(&unit, &all).await;
                    }
                    picked
                }
                Err(fault) => Err(fault),
            };
            let error = match picked {
                Ok(arrived) => return Ok(Some(arrived)),
                Err(Fault::Lost) if may_look => return Ok(None),
                Err(Fault::Lost) => return Err(lost(&chunk)),
                Err(Fault::Source {
                    error,
                    again: true,
                    broken,
                }) if attempt < ATTEMPTS => {
                    avoid |= broken.map_or(0, |source| 1 << source.min(63));
                    error
                }
                Err(Fault::Source { error, .. }) => return Err(error.about(&chunk)),
                Err(Fault::Damaged { source, error }) => {
                    // The extent may be right and its place wrong.
                    if !DOUBTS.contains(&attempt) || !self.doubt_tables(chunk.blob) {
                        avoid |= 1 << source.min(63);
                    }
                    if attempt >= ATTEMPTS {
                        return Err(error.about(&chunk));
                    }
                    error
                }
            };
            let error = error.about(&chunk);
            if let Some(number) = self.damages.count() {
                log::warn!("{error}; trying again (bad answer {number})");
            }
            if attempt > 1 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }

    /// What of a unit that arrived is the chunk.
    fn pick(&self, chunk: &Chunk, arrived: Arrived) -> Outcome {
        let Some((extents, bad)) = &arrived.bad else {
            return Ok(arrived);
        };
        let source = arrived.source;
        let unit = Unit::Chunk(*chunk);
        let damaged = |reason| Fault::Damaged {
            source,
            error: self.damaged(&unit, source, reason),
        };
        let part = extents
            .find(chunk.index)
            .and_then(|(extent, _)| part_of(extents, extent, chunk, &arrived.bytes));
        let Some(part) = part else {
            return Err(damaged(Damage::Tables));
        };
        // Those that the image lists were proved when they landed.
        let proved = self.records.record(chunk.blob, chunk.index) == Some(*chunk);
        if !proved || bad.contains(&chunk.index) {
            self.prove(chunk, &part).map_err(damaged)?;
        }
        // A small part must not keep the whole extent in memory.
        let bytes = if part.len() < arrived.bytes.len() / 2 {
            Bytes::copy_from_slice(&part)
        } else {
            part
        };
        Ok(Arrived {
            bytes,
            source,
            bad: None,
        })
    }

    /// Does `work` where waiting is allowed. `None` when it panicked or the
    /// runtime is ending.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let store = Arc::clone(self);
        crate::runtime::blocking(move || work(&store)).await.ok()
    }
}

fn lost(chunk: &Chunk) -> StoreError {
    StoreError::Lost {
        blob: chunk.blob,
        index: chunk.index,
    }
}
