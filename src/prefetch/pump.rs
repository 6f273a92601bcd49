//! Brings the chunks of stages: many at once, in order, within a bandwidth,
//! and again later when a source fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::FuturesUnordered;

use super::asked::Asked;
use super::pace::Pace;
use super::progress::Progress;
use super::stages::Stage;
use crate::backend::Class;
use crate::chunk::Chunk;
use crate::store::{Store, StoreError};

/// Bytes of chunks under way at once, in both forms. New ones are asked for
/// when half of them are there, so that neighbours are asked for together and
/// a source always has something to do.
const WINDOW: u64 = 32 << 20;

/// Chunks under way at once.
const CHUNKS: usize = 1024;

/// Failures in a row after which the source gets a rest, and chunks under way
/// at once until it gives one again.
const PATIENCE: usize = 8;

/// Failed chunks that come together before they are tried again.
const AGAIN_MAX: usize = 4096;

/// First and longest rest; each is twice the one before.
const RESTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// How often chunks that fail are tried again at the end when nobody asked for
/// the whole image.
const LAST_ROUNDS: u32 = 5;

/// A chunk and how it is asked for.
type Wanted = (Chunk, Class);

/// What became of it.
type Landing = (Wanted, Result<u64, Arc<StoreError>>);

type UnderWay = FuturesUnordered<BoxFuture<'static, Landing>>;

/// How it went to bring some chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pass {
    /// Every chunk was tried.
    Ended,
    /// The source fails and should get a rest; there is more to bring.
    Resting,
}

/// Brings chunks.
pub(super) struct Pump {
    store: Arc<Store>,
    progress: Arc<Progress>,
    /// For the class `Prefetch`.
    pace: Option<Pace>,
    asked: Asked,
    /// Looked up and not asked for.
    waiting: VecDeque<Chunk>,
    /// Failed, the oldest first.
    again: Vec<Wanted>,
    rest: Duration,
    /// Whether the source failed and gave nothing since.
    cautious: bool,
    /// Chunks that no source can give, since the image describes them wrongly.
    hopeless: u64,
}

impl Pump {
    pub(super) fn new(store: Arc<Store>, progress: Arc<Progress>, bandwidth: Option<u64>) -> Self {
        Self {
            store,
            progress,
            pace: bandwidth.map(|rate| Pace::new(rate, Instant::now())),
            asked: Asked::default(),
            waiting: VecDeque::new(),
            again: Vec::new(),
            rest: *RESTS.start(),
            cautious: false,
            hopeless: 0,
        }
    }

    /// Brings all chunks of a stage; those that fail are tried again at the
    /// next rest or in [`Pump::finish`].
    pub(super) async fn stage(&mut self, stage: &mut dyn Stage, class: Class) {
        while self.pass(Some(stage), class).await == Pass::Resting {
            let rest = self.rest;
            self.rest = (rest * 2).min(*RESTS.end());
            self.sleep(rest).await;
            self.retry().await;
        }
    }

    /// Tries what failed until nothing is left; without `forever` only a few
    /// times. True if every chunk that was asked for came.
    pub(super) async fn finish(&mut self, forever: bool) -> bool {
        let (mut round, mut rest) = (0, *RESTS.start());
        while !self.again.is_empty() {
            if round == LAST_ROUNDS && !forever {
                let count = self.again.len();
                log::warn!("Prefetch gives {count} chunks up that cannot be fetched");
                return false;
            }
            self.sleep(rest).await;
            rest = (rest * 2).min(*RESTS.end());
            round += 1;
            self.retry().await;
        }
        self.hopeless == 0
    }

    /// Chunks that were asked for so far.
    pub(super) fn asked(&self) -> u64 {
        self.asked.len()
    }

    async fn sleep(&mut self, rest: Duration) {
        let count = self.again.len();
        log::debug!("Prefetch rests for {rest:?}; {count} chunks are to be tried again");
        self.cautious = true;
        tokio::time::sleep(rest).await;
    }

    /// One try for what failed. What a failing source keeps from being tried is
    /// the first to be tried the next time.
    async fn retry(&mut self) {
        let failed = std::mem::take(&mut self.again);
        let later = std::mem::take(&mut self.waiting);
        let mut untried = Vec::new();
        for class in [Class::Demand, Class::Readahead, Class::Prefetch] {
            let of = failed.iter().filter(|(_, own)| *own == class);
            self.waiting = of.map(|(chunk, _)| *chunk).collect();
            self.pass(None, class).await;
            let left = std::mem::take(&mut self.waiting);
            untried.extend(left.into_iter().map(|chunk| (chunk, class)));
        }
        untried.append(&mut self.again);
        self.again = untried;
        self.waiting = later;
    }

    /// Brings what waits and what `stage` yields.
    async fn pass(&mut self, mut stage: Option<&mut dyn Stage>, class: Class) -> Pass {
        let enough = self.again.len() + AGAIN_MAX;
        let mut under_way = UnderWay::new();
        let (mut load, mut failures) = (0, 0);
        loop {
            let tired = failures >= PATIENCE || self.again.len() >= enough;
            let most = if self.cautious { PATIENCE } else { CHUNKS };
            let (mut more, mut closed) = (true, None);
            if !tired && load <= WINDOW / 2 && under_way.len() <= most / 2 {
                while load < WINDOW && under_way.len() < most {
                    more = self.look_up(&mut stage).await;
                    closed = self.closed_until(class);
                    if !more || closed.is_some() {
                        break;
                    }
                    if let Some(chunk) = self.waiting.pop_front() {
                        load += weight(&chunk);
                        under_way.push(self.ask(chunk, class));
                    }
                }
            }
            match closed {
                _ if !under_way.is_empty() => {}
                _ if !more => return Pass::Ended,
                None if tired => return Pass::Resting,
                _ => {}
            }
            let opens = async {
                match closed {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((wanted, result)) = under_way.next() => {
                    load -= weight(&wanted.0);
                    failures = if self.land(wanted, result) { 0 } else { failures + 1 };
                }
                () = opens => {}
            }
        }
    }

    /// Makes sure that something waits; false when there is nothing more.
    async fn look_up(&mut self, stage: &mut Option<&mut dyn Stage>) -> bool {
        while self.waiting.is_empty() {
            let Some(stage) = stage else {
                return false;
            };
            let mut found = Vec::new();
            let more = stage.more(&mut found);
            found.retain(|chunk| self.asked.insert(chunk.blob, chunk.index));
            self.progress.wanted.fetch_max(self.asked.len(), Relaxed);
            // Here, where waiting is allowed, and not by a task for each: most
            // of an image may be there already.
            let new = found.len();
            found.retain(|chunk| !self.store.is_here(chunk));
            let here = u64::try_from(new - found.len()).unwrap_or(0);
            self.progress.done.fetch_add(here, Relaxed);
            self.waiting.extend(found);
            if !more {
                return !self.waiting.is_empty();
            }
            // Of a long list of chunks that are known the daemon's end is one.
            tokio::task::yield_now().await;
        }
        true
    }

    /// When the next chunk may be asked for, if not now.
    fn closed_until(&mut self, class: Class) -> Option<Instant> {
        match class {
            Class::Demand | Class::Readahead => None,
            Class::Prefetch => self.pace.as_mut()?.closed_until(Instant::now()),
        }
    }

    fn ask(&mut self, chunk: Chunk, class: Class) -> BoxFuture<'static, Landing> {
        if let (Class::Prefetch, Some(pace)) = (class, &mut self.pace) {
            pace.take(chunk.stored_len.into());
        }
        let store = Arc::clone(&self.store);
        async move { ((chunk, class), store.bring_ahead(chunk, class).await) }.boxed()
    }

    /// Takes down how a chunk came; false if it did not.
    fn land(&mut self, (chunk, class): Wanted, result: Result<u64, Arc<StoreError>>) -> bool {
        let fetched = *result.as_ref().unwrap_or(&0);
        if let (Class::Prefetch, Some(pace)) = (class, &mut self.pace) {
            // What the cache had costs nothing; what was fetched with it does.
            pace.give_back(chunk.stored_len.into());
            pace.take(fetched);
        }
        self.progress.bytes.fetch_add(fetched, Relaxed);
        match result {
            Ok(_) => {
                self.progress.done.fetch_add(1, Relaxed);
                self.rest = *RESTS.start();
                self.cautious = false;
                true
            }
            Err(error) => {
                self.progress.failed.fetch_add(1, Relaxed);
                match *error {
                    StoreError::BadChunk { .. } => self.hopeless += 1,
                    _ => self.again.push((chunk, class)),
                }
                false
            }
        }
    }
}

/// Memory that a chunk under way takes.
fn weight(chunk: &Chunk) -> u64 {
    u64::from(chunk.len) + u64::from(chunk.stored_len)
}
