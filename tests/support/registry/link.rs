//! The link that all connections share.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A sender that comes back within this after its slice is taken to have sent
/// all the time, so that the link makes up for a late timer.
const SAME_BREATH: Duration = Duration::from_millis(20);

/// Slices a second at full load.
const SLICES: u64 = 5000;

/// Rate and the time until which the link is taken.
#[derive(Debug)]
pub(super) struct Link(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    rate: u64,
    free: Instant,
}

/// Leave to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice {
    pub(super) bytes: usize,
    /// When to send; `None` is at once.
    pub(super) at: Option<Instant>,
}

impl Link {
    pub(super) fn new(rate: u64) -> Self {
        Self(Mutex::new(Inner {
            rate,
            free: Instant::now(),
        }))
    }

    /// Bytes per second from now on; 0 is no limit.
    pub(super) fn set_rate(&self, rate: u64) {
        let mut inner = self.0.lock();
        inner.rate = rate;
        inner.free = Instant::now();
    }

    /// Takes the link for up to `wanted` bytes. Each sender asks for one slice
    /// at a time and they are served in order: that shares the link evenly.
    /// `went_on` says that the sender has just sent its last slice.
    pub(super) fn take(&self, wanted: usize, went_on: bool) -> Slice {
        let mut inner = self.0.lock();
        if inner.rate == 0 {
            return Slice {
                bytes: wanted,
                at: None,
            };
        }
        let longest = (inner.rate / SLICES).clamp(1448, 64 << 10);
        let bytes = u64::try_from(wanted).unwrap_or(u64::MAX).min(longest);
        let now = Instant::now();
        let idle = now.saturating_duration_since(inner.free);
        if !(went_on && idle < SAME_BREATH) {
            inner.free = inner.free.max(now);
        }
        // The last byte arrives when the slice has been sent, not when it
        // begins.
        let length = Duration::from_nanos(bytes * 1_000_000_000 / inner.rate);
        inner.free += length;
        Slice {
            bytes: usize::try_from(bytes).unwrap_or(wanted),
            at: Some(inner.free),
        }
    }
}
