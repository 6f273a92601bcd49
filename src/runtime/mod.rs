//! The threads that misses run on, made at the first miss: a daemon that serves
//! from its cache alone never starts them.
//!
//! * [`handle`] is the tokio runtime: network, timers, and what waits for either.
//! * [`blocking`] does work that waits for a disk or computes for long, on
//!   threads of its own. Tokio's are started by whoever has work for them, and a
//!   thread is as restricted as the one that started it.
//! * [`starter`] is where other programs are started, if not everywhere.

mod pool;
mod programs;

use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

use self::pool::Pool;
pub use self::pool::{Lost, Working};
pub use self::programs::{start_programs_aside, starter};
use crate::threads::{self, Kind};

/// Threads for blocking work (disk reads, decompression, hashing): more than
/// fetches at once, so that a backend that hangs leaves some for the cache.
const BLOCKING_THREADS: usize = 128;

/// Threads of tokio's own for work that blocks, which is name resolution.
const RESOLVING_THREADS: usize = 16;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static POOL: OnceLock<Pool> = OnceLock::new();

/// The handle of the runtime, which is started by the first call.
///
/// # Errors
/// When the system refuses a thread.
pub fn handle() -> io::Result<&'static Handle> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle());
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(RESOLVING_THREADS)
        .thread_name("tidegate-miss")
        .on_thread_start(|| threads::begin(Kind::Network))
        .enable_all()
        .build()?;
    // Of two threads that race here one wins; the other's runtime must be shut
    // down without waiting.
    if let Err(loser) = RUNTIME.set(runtime) {
        loser.shutdown_background();
    }
    RUNTIME
        .get()
        .map(Runtime::handle)
        .ok_or_else(|| io::Error::other("no runtime"))
}

/// Starts all of it now, from a thread that is as what is started should be.
///
/// # Errors
/// When the system refuses a thread.
pub fn start() -> io::Result<()> {
    handle()?;
    POOL.get_or_init(|| Pool::new(BLOCKING_THREADS)).start()
}

/// Does `work` on a thread that may wait; it begins at once, whether what this
/// returns is awaited or not.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Working<T> {
    POOL.get_or_init(|| Pool::new(BLOCKING_THREADS)).run(work)
}
