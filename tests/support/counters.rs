//! The line `counters {json}` that a daemon writes to standard error at SIGUSR1
//! and at its end.

use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Has a process write its counters with `ask` and finds them in what it
/// `said`.
///
/// # Errors
/// `TimedOut` when they do not come.
pub fn now(ask: impl FnOnce() -> io::Result<()>, said: impl Fn() -> String) -> io::Result<Value> {
    let before = all(&said()).len();
    ask()?;
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if let Some(found) = all(&said()).into_iter().nth(before) {
            return Ok(found);
        }
        // A file that grows is no event.
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no counters"))
}

/// All whole lines of counters in what a daemon wrote.
pub fn all(text: &str) -> Vec<Value> {
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .filter_map(|line| line.strip_prefix("counters "))
        .filter_map(|json| serde_json::from_str(json).ok())
        .collect()
}
