//! The slow path: a chunk out of the cache if it proves, else from a source,
//! proved, and into the cache. All bytes stay in private memory until they are
//! proved.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::cache_file::Claim;
use super::counters::count;
use super::decompress::decompress;
use super::error::{Damage, StoreError};
use super::fetch::{Arrived, Fault, Wanted};
use super::flight::Urgency;
use super::local::Local;
use super::tags::Tags;
use super::{Store, Verify};
use crate::backend::{BackendError, Class};
use crate::chunk::Chunk;

/// Times that a chunk is fetched before it is called damaged. A source may be
/// one of many behind one name, of which some are bad, so the next answer may
/// be right.
const ATTEMPTS: u32 = 6;

/// Pause before a chunk is asked for again the second time; it doubles.
const PAUSE: Duration = Duration::from_millis(20);

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
            let told = match self.want(chunk, class, avoid, may_look) {
                Wanted::Here(arrived) => return Ok(Some(arrived)),
                Wanted::Landed => return Ok(None),
                Wanted::Coming(told) => told,
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
            let error = match told.await.unwrap_or(Err(Fault::Lost)) {
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
                Err(Fault::Source { error, .. }) => return Err(error),
                Err(Fault::Damaged { source, error }) => {
                    avoid |= 1 << source.min(63);
                    if attempt >= ATTEMPTS {
                        return Err(error);
                    }
                    error
                }
            };
            if let Some(number) = self.damages.count() {
                log::warn!("{error}; trying again (bad answer {number})");
            }
            if attempt > 1 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }

    /// The error of a chunk whose request failed.
    pub(super) fn fetch_error(&self, chunk: &Chunk, source: &Arc<BackendError>) -> StoreError {
        StoreError::Fetch {
            id: self.blob_id(chunk),
            index: chunk.index,
            digest: chunk.digest,
            source: Arc::clone(source),
        }
    }

    /// The error of a chunk that a source delivered wrong.
    pub(super) fn damaged(&self, chunk: &Chunk, source: usize, reason: Damage) -> StoreError {
        StoreError::Damaged {
            id: self.blob_id(chunk),
            index: chunk.index,
            digest: chunk.digest,
            source_name: self.sources.describe(source),
            reason: Box::new(reason),
        }
    }

    /// From the stored form to proved bytes and their tags.
    pub(super) fn unpack(
        &self,
        chunk: &Chunk,
        stored: Bytes,
    ) -> Result<(Bytes, Option<Tags>), Damage> {
        let blob = self.blobs.get(usize::from(chunk.blob));
        let compressor = blob.map_or(crate::chunk::Compressor::None, |blob| blob.info.compressor);
        let bytes = decompress(chunk, compressor, stored)?;
        let tags = self.prove(chunk, &bytes)?;
        Ok((bytes, tags))
    }

    /// Proves `bytes` against the digest, and makes their tags if reads will
    /// need them.
    pub(super) fn prove(&self, chunk: &Chunk, bytes: &[u8]) -> Result<Option<Tags>, Damage> {
        if self.config.verify == Verify::Off {
            return Ok(None);
        }
        let blob = self.blobs.get(usize::from(chunk.blob));
        let got = blob.map(|blob| blob.info.algorithm.digest(bytes));
        if got != Some(chunk.digest) {
            let got = got.unwrap_or_default();
            return Err(Damage::Digest { got });
        }
        let always = self.config.verify == Verify::Always;
        Ok(always.then(|| Tags::of(self.tags.mac(), chunk, bytes)))
    }

    /// Does `work` where waiting is allowed. `None` when it panicked or the
    /// runtime is ending.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let store = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&store)).await.ok()
    }
}

fn lost(chunk: &Chunk) -> StoreError {
    StoreError::Lost {
        blob: chunk.blob,
        index: chunk.index,
    }
}
