//! How patient one source is treated.

use std::time::Duration;

/// When a source is asked again, and when it is left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How often one range is asked for again after an error that may pass.
    pub retry_limit: u32,
    /// Pause before the first retry. It doubles with each, and is drawn at
    /// random between the full length and twice that.
    pub first_pause: Duration,
    /// Longest pause, without the random part. A source that asks to be left
    /// alone for longer (`Retry-After`) is left alone for up to a minute.
    pub longest_pause: Duration,
    /// A range that a source has not begun to deliver after this long is asked
    /// of the next one as well, unless it is prefetched.
    pub patience: Duration,
    /// Failures in a row after which the source is left out. A success takes
    /// back one failure, wrong bytes count as two.
    pub failures: u32,
    /// How long it is left out before it is tried again, at random up to twice
    /// that; it doubles with each failed trial, up to 16 times this.
    pub cool_down: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retry_limit: 3,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(2),
            patience: Duration::from_secs(2),
            failures: 5,
            cool_down: Duration::from_secs(2),
        }
    }
}
