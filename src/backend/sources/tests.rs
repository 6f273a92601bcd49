//! Order, turns, pauses and health.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::*;
use crate::backend::{Opening, whole};

/// What a source does when it is asked.
#[derive(Clone, Copy)]
enum Mood {
    Serves,
    Fails,
    Lacks,
    Hangs,
}

struct Fake {
    name: &'static str,
    mood: Mutex<Mood>,
    asked: AtomicUsize,
}

impl Fake {
    fn new(name: &'static str, mood: Mood) -> Arc<Self> {
        Arc::new(Self {
            name,
            mood: Mutex::new(mood),
            asked: AtomicUsize::new(0),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

impl Backend for Fake {
    fn open<'a>(&'a self, range: BlobRange<'a>) -> Opening<'a> {
        self.asked.fetch_add(1, SeqCst);
        let mood = *self.mood.lock();
        Box::pin(async move {
            match mood {
                Mood::Serves => Ok(whole(Bytes::from_static(self.name.as_bytes()))),
                Mood::Hangs => std::future::pending().await,
                Mood::Lacks => Err(BackendError::Open {
                    path: range.id.into(),
                    source: std::io::ErrorKind::NotFound.into(),
                }),
                Mood::Fails => Err(BackendError::Io {
                    id: range.id.to_owned(),
                    source_name: self.name.to_owned(),
                    offset: range.offset,
                    len: range.len,
                    source: std::io::ErrorKind::ConnectionReset.into(),
                }),
            }
        })
    }

    fn describe(&self) -> String {
        self.name.to_owned()
    }
}

fn sources(fakes: &[&Arc<Fake>]) -> Sources {
    let source = |fake: &&Arc<Fake>| Source {
        backend: Arc::clone(*fake) as Arc<dyn Backend>,
        policy: Policy::default(),
    };
    Sources::new(fakes.iter().map(source).collect())
}

async fn ask(sources: &Sources, class: Class, avoid: Avoid) -> Result<Bytes, BackendError> {
    let range = BlobRange {
        id: &"5a".repeat(32),
        offset: 0,
        len: 1,
        class,
    };
    let parts: Vec<Bytes> = sources.open(range, avoid).await?.body.try_collect().await?;
    Ok(parts.concat().into())
}

#[tokio::test(start_paused = true)]
async fn the_next_source_is_asked_at_once_when_one_fails() {
    let (peer, origin) = (
        Fake::new("peer", Mood::Fails),
        Fake::new("origin", Mood::Serves),
    );
    let sources = sources(&[&peer, &origin]);
    let start = Instant::now();
    assert_eq!(ask(&sources, Class::Demand, 0).await.unwrap(), "origin");
    assert!(start.elapsed().is_zero());
    *peer.mood.lock() = Mood::Serves;
    assert_eq!(ask(&sources, Class::Demand, 0).await.unwrap(), "peer");
    assert_eq!(ask(&sources, Class::Demand, 1).await.unwrap(), "origin");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_begin_passes_its_turn_but_not_for_prefetch() {
    let (peer, origin) = (
        Fake::new("peer", Mood::Hangs),
        Fake::new("origin", Mood::Serves),
    );
    let sources = sources(&[&peer, &origin]);
    let start = Instant::now();
    assert_eq!(ask(&sources, Class::Demand, 0).await.unwrap(), "origin");
    assert_eq!(start.elapsed(), Policy::default().patience);
    let prefetch = tokio::time::timeout(Duration::from_secs(60), ask(&sources, Class::Prefetch, 0));
    assert!(prefetch.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn rounds_are_parted_by_growing_pauses_and_end() {
    let only = Fake::new("only", Mood::Fails);
    let sources = sources(&[&only]);
    let start = Instant::now();
    let error = ask(&sources, Class::Demand, 0).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(only.asked(), 4);
    // 100, 200 and 400 ms, each up to twice as long.
    let took = start.elapsed();
    assert!((700..1500).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_no_source_has_is_not_asked_for_again() {
    let only = Fake::new("only", Mood::Lacks);
    let sources = sources(&[&only]);
    assert!(
        ask(&sources, Class::Demand, 0)
            .await
            .unwrap_err()
            .is_missing()
    );
    assert_eq!(only.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_source_is_left_out_and_comes_back() {
    let (peer, origin) = (
        Fake::new("peer", Mood::Fails),
        Fake::new("origin", Mood::Serves),
    );
    let sources = sources(&[&peer, &origin]);
    for _ in 0..20 {
        ask(&sources, Class::Demand, 0).await.unwrap();
    }
    assert_eq!(peer.asked(), 5);
    assert!(sources.figures()[0].resting);
    assert_eq!(sources.figures()[0].errors, 5);
    *peer.mood.lock() = Mood::Serves;
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(ask(&sources, Class::Demand, 0).await.unwrap(), "peer");
    assert!(!sources.figures()[0].resting);
}

#[tokio::test(start_paused = true)]
async fn when_all_are_left_out_all_are_asked() {
    let only = Fake::new("only", Mood::Fails);
    let sources = sources(&[&only]);
    for _ in 0..3 {
        ask(&sources, Class::Demand, 0).await.unwrap_err();
    }
    *only.mood.lock() = Mood::Serves;
    assert_eq!(ask(&sources, Class::Demand, 0).await.unwrap(), "only");
}
