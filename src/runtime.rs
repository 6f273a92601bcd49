//! The tokio runtime that misses run on, made at the first miss: a daemon that
//! serves from its cache alone never starts it.

use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads for blocking work (disk reads, decompression, hashing): more than
/// fetches at once, so that a backend that hangs leaves some for the cache.
const BLOCKING_THREADS: usize = 128;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

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
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("tidegate-miss")
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
