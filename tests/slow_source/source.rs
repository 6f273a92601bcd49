//! A backend that takes its time and remembers how it was asked.

use std::future;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tidegate::backend::directory::DirectoryBackend;
use tidegate::backend::{Backend, BlobRange, Opening};

/// How long an answer takes.
pub(crate) const DELAY: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    hangs: bool,
    requests: usize,
    in_flight: usize,
    most_in_flight: usize,
}

/// A directory of blobs behind a long line.
#[derive(Debug)]
pub(crate) struct SlowSource {
    blobs: DirectoryBackend,
    state: Mutex<State>,
    changed: Condvar,
}

/// A request under way; over when dropped, even if nobody waits any more.
struct UnderWay<'a>(&'a SlowSource);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.in_flight -= 1);
    }
}

impl SlowSource {
    pub(crate) fn new(blobs: DirectoryBackend) -> Arc<Self> {
        Arc::new(Self {
            blobs,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    /// From now on requests are never answered, or are again.
    pub(crate) fn hang(&self, hangs: bool) {
        self.change(|state| state.hangs = hangs);
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    /// Requests under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.lock().unwrap().in_flight
    }

    /// Most requests that were under way at once.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.state.lock().unwrap().most_in_flight
    }

    /// Waits until so many requests are under way.
    pub(crate) fn await_in_flight(&self, count: usize) {
        self.await_state(count, |state| state.in_flight < count);
    }

    /// Waits until no request is under way.
    pub(crate) fn await_idle(&self) {
        self.await_state(0, |state| state.in_flight > 0);
    }

    fn await_state(&self, count: usize, unlike: impl Fn(&mut State) -> bool) {
        let state = self.state.lock().unwrap();
        let limit = Duration::from_secs(10);
        let (state, timeout) = self
            .changed
            .wait_timeout_while(state, limit, unlike)
            .unwrap();
        assert!(!timeout.timed_out(), "{count} requests, not {state:?}");
    }
}

impl Backend for SlowSource {
    fn open<'a>(&'a self, range: BlobRange<'a>) -> Opening<'a> {
        Box::pin(async move {
            let hangs = self.change(|state| {
                state.requests += 1;
                state.in_flight += 1;
                state.most_in_flight = state.most_in_flight.max(state.in_flight);
                state.hangs
            });
            let _under_way = UnderWay(self);
            if hangs {
                future::pending::<()>().await;
            }
            tokio::time::sleep(DELAY).await;
            self.blobs.open(range).await
        })
    }

    fn describe(&self) -> String {
        "a slow source".into()
    }
}
