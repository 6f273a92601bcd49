//! Sources that fail, hang, lie and come back.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::*;
use crate::backend::testing::id;
use crate::backend::{Class, Opening, whole};

/// What a source does about a request.
#[derive(Clone, Copy)]
enum Act {
    Serve,
    Refuse(u16),
    RefuseFor(Duration),
    Break,
    Hang,
}

/// A source that acts as told, and then goes on with its last act.
struct Actor {
    acts: Mutex<VecDeque<Act>>,
    asked: Mutex<Vec<Instant>>,
}

impl Actor {
    fn new(acts: impl IntoIterator<Item = Act>) -> Arc<Self> {
        let acts = Mutex::new(acts.into_iter().collect());
        let asked = Mutex::default();
        Arc::new(Self { acts, asked })
    }

    fn now_does(&self, act: Act) {
        *self.acts.lock() = VecDeque::from([act]);
    }

    fn asked(&self) -> usize {
        self.asked.lock().len()
    }
}

fn refused(status: u16, retry_after: Option<Duration>) -> BackendError {
    let url = url::Url::parse("http://host/blob").unwrap();
    BackendError::Refused {
        at: crate::backend::error::At::new(&"actor".into(), &url),
        status,
        explanation: None,
        retry_after,
    }
}

impl Backend for Actor {
    fn open<'a>(&'a self, range: BlobRange<'a>) -> Opening<'a> {
        self.asked.lock().push(Instant::now());
        let mut acts = self.acts.lock();
        let act = match acts.len() {
            1 => acts.front().copied(),
            _ => acts.pop_front(),
        };
        let bytes = Bytes::from(vec![7; range.len]);
        Box::pin(async move {
            match act.unwrap() {
                Act::Serve => Ok(whole(bytes)),
                Act::Refuse(status) => Err(refused(status, None)),
                Act::RefuseFor(wish) => Err(refused(429, Some(wish))),
                Act::Break => {
                    Ok(stream::iter([Ok(bytes.slice(1..)), Err(refused(500, None))]).boxed())
                }
                Act::Hang => future::pending().await,
            }
        })
    }

    fn describe(&self) -> String {
        "actor".into()
    }
}

fn policy() -> Policy {
    Policy {
        retry_limit: 2,
        failures: 3,
        ..Policy::default()
    }
}

fn sources(actors: &[&Arc<Actor>]) -> Sources {
    let source = |actor: &&Arc<Actor>| Source {
        backend: Arc::clone(actor) as Arc<dyn Backend>,
        policy: policy(),
    };
    Sources::new(actors.iter().map(source).collect())
}

/// Reads a range as the scheduler does; which source served it.
async fn read_as(sources: &Sources, avoid: Avoid, class: Class) -> Result<usize, BackendError> {
    let id = id('a');
    let range = BlobRange {
        id: &id,
        offset: 0,
        len: 100,
        class,
    };
    let Opened { source, body } = sources.open(range, avoid).await?;
    let read: Result<Vec<Bytes>, _> = body.try_collect().await;
    match read {
        Ok(_) => Ok(source),
        Err(error) => {
            sources.broke(source, &error);
            Err(error)
        }
    }
}

async fn read(sources: &Sources) -> Result<usize, BackendError> {
    read_as(sources, 0, Class::Demand).await
}

#[tokio::test(start_paused = true)]
async fn the_next_source_is_asked_at_once_when_one_fails() {
    let (mirror, origin) = (Actor::new([Act::Refuse(500)]), Actor::new([Act::Serve]));
    let sources = sources(&[&mirror, &origin]);
    let began = Instant::now();
    assert_eq!(read(&sources).await.unwrap(), 1);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!((mirror.asked(), origin.asked()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn errors_that_may_pass_are_retried_after_growing_pauses() {
    let origin = Actor::new([Act::Refuse(503)]);
    let sources = sources(&[&origin]);
    read(&sources).await.unwrap_err();
    let asked = origin.asked.lock().clone();
    let [first, second, third] = asked[..] else {
        panic!("{asked:?}")
    };
    let pauses = [second - first, third - second].map(|pause| pause.as_millis());
    assert!((100..=201).contains(&pauses[0]), "{pauses:?}");
    assert!((200..=401).contains(&pauses[1]), "{pauses:?}");

    let figures = &sources.figures()[0];
    assert_eq!(
        (figures.requests, figures.errors, figures.retries),
        (3, 3, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn errors_that_stay_are_not_retried() {
    for status in [401, 403, 404, 416] {
        let origin = Actor::new([Act::Refuse(status)]);
        read(&sources(&[&origin])).await.unwrap_err();
        assert_eq!(origin.asked(), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_wants_to_be_left_alone_is_and_by_every_reader() {
    let wish = Duration::from_secs(7);
    let origin = Actor::new([Act::RefuseFor(wish), Act::Serve]);
    let sources = sources(&[&origin]);
    let began = Instant::now();
    let late = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        read(&sources).await
    };
    let (first, second) = tokio::join!(read(&sources), late);
    first.unwrap();
    second.unwrap();
    let asked = origin.asked.lock().clone();
    let since: Vec<u64> = asked.iter().map(|at| (*at - began).as_secs()).collect();
    assert_eq!(since, [0, 7, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_wants_to_be_left_alone_leaves_the_others_their_turn() {
    let mirror = Actor::new([Act::RefuseFor(Duration::from_secs(30)), Act::Serve]);
    let origin = Actor::new([Act::Serve]);
    let sources = sources(&[&mirror, &origin]);
    for _ in 0..3 {
        assert_eq!(read(&sources).await.unwrap(), 1);
    }
    assert_eq!(mirror.asked(), 1);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(read(&sources).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_origins_error_is_the_one_that_is_told() {
    let mirror = Actor::new([Act::Refuse(503)]);
    let origin = Actor::new([Act::Refuse(404)]);
    let error = read(&sources(&[&mirror, &origin])).await.unwrap_err();
    assert!(error.is_missing(), "{error}");
    assert_eq!((mirror.asked(), origin.asked()), (3, 1));
    let none = Sources::new(Vec::new());
    assert!(matches!(read(&none).await, Err(BackendError::NoSource)));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_slow_gets_company_unless_nobody_waits() {
    let (mirror, origin) = (Actor::new([Act::Hang]), Actor::new([Act::Serve]));
    let sources = sources(&[&mirror, &origin]);
    let began = Instant::now();
    assert_eq!(read(&sources).await.unwrap(), 1);
    assert_eq!(began.elapsed(), policy().patience);
    assert_eq!(sources.figures()[0].errors, 1);

    let prefetch = read_as(&sources, 0, Class::Prefetch);
    let late = tokio::time::timeout(Duration::from_secs(60), prefetch).await;
    assert!(late.is_err());
    assert_eq!(origin.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn sources_to_be_avoided_are_asked_last() {
    let (mirror, origin) = (Actor::new([Act::Serve]), Actor::new([Act::Serve]));
    let sources = sources(&[&mirror, &origin]);
    assert_eq!(read_as(&sources, 0b01, Class::Demand).await.unwrap(), 1);
    assert_eq!(read_as(&sources, 0b11, Class::Demand).await.unwrap(), 0);
    origin.now_does(Act::Refuse(404));
    assert_eq!(read_as(&sources, 0b01, Class::Demand).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_keeps_failing_is_left_out_and_comes_back_on_the_side() {
    let (mirror, origin) = (Actor::new([Act::Refuse(500)]), Actor::new([Act::Serve]));
    let sources = sources(&[&mirror, &origin]);
    for _ in 0..10 {
        assert_eq!(read(&sources).await.unwrap(), 1);
    }
    assert_eq!(mirror.asked(), 3);
    assert_eq!(sources.figures()[0].breaker, Breaker::Open);
    assert_eq!(sources.figures()[0].outages, 1);

    // The mirror hangs when it is tried: no reader notices.
    mirror.now_does(Act::Hang);
    tokio::time::sleep(2 * policy().cool_down).await;
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(read(&sources).await.unwrap(), 1);
    }
    tokio::task::yield_now().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(mirror.asked(), 4);

    mirror.now_does(Act::Serve);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(read(&sources).await.unwrap(), 1);
    while sources.figures()[0].breaker != Breaker::Closed {
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&sources).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn sources_that_are_all_left_out_are_asked_anyway() {
    let (mirror, origin) = (
        Actor::new([Act::Refuse(500)]),
        Actor::new([Act::Refuse(500)]),
    );
    let sources = sources(&[&mirror, &origin]);
    for _ in 0..3 {
        read(&sources).await.unwrap_err();
    }
    assert!(
        sources
            .figures()
            .iter()
            .all(|source| source.breaker != Breaker::Closed)
    );
    mirror.now_does(Act::Serve);
    assert_eq!(read(&sources).await.unwrap(), 0);
    assert_eq!(sources.figures()[0].breaker, Breaker::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_bodies_break_or_lie_is_left_out() {
    let (mirror, origin) = (Actor::new([Act::Break]), Actor::new([Act::Serve]));
    let breaking = sources(&[&mirror, &origin]);
    for _ in 0..3 {
        read(&breaking).await.unwrap_err();
    }
    assert_eq!(read(&breaking).await.unwrap(), 1);

    let mirror = Actor::new([Act::Serve]);
    let lying = sources(&[&mirror, &origin]);
    for _ in 0..2 {
        assert_eq!(read(&lying).await.unwrap(), 0);
        lying.lied(0);
    }
    assert_eq!(read(&lying).await.unwrap(), 1);
    assert_eq!(lying.figures()[0].lies, 2);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_without_the_blob_stays_in_use() {
    let (mirror, origin) = (Actor::new([Act::Refuse(404)]), Actor::new([Act::Serve]));
    let sources = sources(&[&mirror, &origin]);
    for _ in 0..10 {
        assert_eq!(read(&sources).await.unwrap(), 1);
    }
    assert_eq!(mirror.asked(), 10);
    assert_eq!(sources.figures()[0].breaker, Breaker::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_gives_up_on_a_source_that_hangs_tells_against_it() {
    let origin = Actor::new([Act::Hang]);
    let sources = sources(&[&origin]);
    for (patience, errors) in [(1, 0), (3, 1)] {
        let read = read(&sources);
        let gave_up = tokio::time::timeout(Duration::from_secs(patience), read).await;
        assert!(gave_up.is_err());
        assert_eq!(sources.figures()[0].errors, errors);
    }
}

#[tokio::test(start_paused = true)]
async fn what_sources_deliver_is_counted() {
    let origin = Actor::new([Act::Serve]);
    let sources = sources(&[&origin]);
    read(&sources).await.unwrap();
    read(&sources).await.unwrap();
    let figures = serde_json::to_value(sources.figures()).unwrap();
    assert_eq!(figures[0]["name"], "actor");
    assert_eq!(
        (&figures[0]["requests"], &figures[0]["bytes"]),
        (&2.into(), &200.into())
    );
    assert_eq!(figures[0]["breaker"], "closed");
}
