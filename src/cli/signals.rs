//! Signals: SIGTERM and SIGINT end the process, SIGUSR1 logs the counters.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::cli::logging;
use crate::store::Store;

/// What is served, by mountpoint.
pub(super) type Stores = Vec<(String, Arc<Store>)>;

/// Starts the thread that waits for signals. On the first that ends the
/// process it calls `end`, logs the counters and exits with status 0, whatever
/// the rest of the process is doing: the cache on disk needs no goodbye.
///
/// # Errors
/// When the handlers or the thread cannot be had.
pub(super) fn handle(
    stores: impl Fn() -> Stores + Send + 'static,
    end: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1])?;
    let wait = move || {
        for signal in signals.forever() {
            if signal != SIGUSR1 {
                break;
            }
            report(&stores());
        }
        end();
        report_end(&stores());
        logging::flush();
        process::exit(0);
    };
    thread::Builder::new()
        .name("tidegate-signals".into())
        .stack_size(256 << 10)
        .spawn(wait)?;
    Ok(())
}

/// Prints the counters for the last time. Of the thread for signals and the
/// main thread, which may both come to the end, only the first does.
pub(super) fn report_end(stores: &Stores) {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        report(stores);
    }
}

/// Prints the counters on standard error: `counters ` and a line of JSON for
/// each mount, with its mountpoint unless that is the root.
fn report(stores: &Stores) {
    for (mountpoint, store) in stores {
        let Ok(mut counters) = serde_json::to_value(store.counters().snapshot()) else {
            continue;
        };
        if mountpoint != "/" {
            counters["mountpoint"] = mountpoint.as_str().into();
        }
        logging::print(&format!("counters {counters}"));
    }
}
