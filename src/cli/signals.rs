//! Signals: SIGTERM and SIGINT end the process, SIGUSR1 logs the counters.

use std::io;
use std::process;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::store::Store;

/// Starts the thread that waits for signals. On the first that ends the
/// process it calls `end`, logs the counters and exits with status 0, whatever
/// the rest of the process is doing: the cache on disk needs no goodbye.
///
/// # Errors
/// When the handlers or the thread cannot be had.
pub(super) fn handle(store: Arc<Store>, end: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1])?;
    thread::Builder::new()
        .name("tidegate-signals".into())
        .stack_size(256 << 10)
        .spawn(move || {
            for signal in signals.forever() {
                if signal != SIGUSR1 {
                    break;
                }
                report(&store);
            }
            end();
            report(&store);
            process::exit(0);
        })?;
    Ok(())
}

/// Prints the counters on standard error: `counters ` and a line of JSON.
pub(super) fn report(store: &Store) {
    if let Ok(counters) = serde_json::to_string(&store.counters().snapshot()) {
        eprintln!("counters {counters}");
    }
}
