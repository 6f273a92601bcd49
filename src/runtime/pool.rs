//! Threads for work that blocks. Each is started by another of them, so that all
//! are as the first one was.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// A pool; it lasts as long as the process.
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    most: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// Work under way; its result when awaited.
pub struct Working<T>(oneshot::Receiver<T>);

/// The work panicked, or no thread could be started for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("The work was given up")]
pub struct Lost;

impl<T> Future for Working<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| Lost)
    }
}

impl Pool {
    /// A pool of up to `most` threads, none of which is there yet.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Shared {
            most,
            state: Mutex::default(),
            work: Condvar::new(),
        }))
    }

    /// Starts the first thread, if there is none.
    pub(super) fn start(&self) -> io::Result<()> {
        let mut state = self.0.state.lock();
        if state.threads == 0 {
            spawn(&self.0)?;
            state.threads = 1;
        }
        Ok(())
    }

    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Working<T> {
        let (done, result) = oneshot::channel();
        let job = move || {
            // Nobody waits for it any more: as good.
            let _ = done.send(work());
        };
        // Tokio lets a clock that stands still for a test jump ahead when it knows of
        // no work; it must know of this.
        #[cfg(test)]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn_blocking(job));
            return Working(result);
        }
        let mut state = self.0.state.lock();
        state.jobs.push_back(Box::new(job));
        if state.threads == 0 {
            match spawn(&self.0) {
                Ok(()) => state.threads = 1,
                Err(error) => {
                    log::error!("Cannot start a thread that works: {error}");
                    state.jobs.clear();
                }
            }
        }
        drop(state);
        self.0.work.notify_one();
        Working(result)
    }
}

fn spawn(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name("tidegate-work".to_owned())
        .spawn(move || shared.serve())?;
    Ok(())
}

impl Shared {
    fn serve(self: Arc<Self>) {
        // What the work starts in turn finds the runtime.
        let _inside = super::handle().map(tokio::runtime::Handle::enter);
        let mut state = self.state.lock();
        loop {
            let Some(job) = state.jobs.pop_front() else {
                state.idle += 1;
                let late = self.work.wait_for(&mut state, IDLE).timed_out();
                state.idle -= 1;
                // The last one stays: nobody else may start the next.
                if late && state.jobs.is_empty() && state.threads > 1 {
                    state.threads -= 1;
                    return;
                }
                continue;
            };
            // One more than is busy, so that work never waits for one that hangs.
            let wanted = state.idle == 0 && state.threads < self.most;
            state.threads += usize::from(wanted);
            drop(state);
            if wanted && let Err(error) = spawn(&self) {
                log::error!("Cannot start a thread that works: {error}");
                self.state.lock().threads -= 1;
            }
            // A panic is logged where it happens; whoever waits is told.
            let _ = catch_unwind(AssertUnwindSafe(job));
            state = self.state.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for work outside a runtime, where the pool's own threads do it.
    fn wait<T>(work: Working<T>) -> Result<T, Lost> {
        work.0.blocking_recv().map_err(|_| Lost)
    }

    #[test]
    fn work_is_done_beside_work_that_hangs_and_a_panic_is_told() {
        let pool = Pool::new(8);
        let (go, hold) = std::sync::mpsc::channel::<()>();
        let hangs = pool.run(move || hold.recv());
        assert_eq!(wait(pool.run(|| 7)), Ok(7));
        let panics = pool.run(|| -> u8 { panic!("on purpose") });
        assert_eq!(wait(panics), Err(Lost));
        assert_eq!(wait(pool.run(|| 8)), Ok(8));
        drop(go);
        assert!(wait(hangs).is_ok_and(|got| got.is_err()));
    }

    #[test]
    fn threads_are_no_more_than_allowed() {
        let pool = Pool::new(3);
        let all: Vec<_> = (0..50)
            .map(|_| {
                let shared = Arc::clone(&pool.0);
                pool.run(move || shared.state.lock().threads)
            })
            .collect();
        for threads in all {
            assert!(wait(threads).is_ok_and(|threads| threads <= 3));
        }
    }
}
