//! Waiting to a few dozen microseconds: tokio's own timers end on whole
//! milliseconds, which is too coarse for a link of 1 GB/s and for an RTT of 5 ms.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::net::unix::pipe::Receiver;

/// Waits until `then`.
///
/// # Errors
/// When there are no descriptors left.
pub(super) async fn until(then: Instant) -> io::Result<()> {
    let left = then.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(());
    }
    let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
    let once = Expiration::OneShot(TimeSpec::from_duration(left));
    timer.set(once, TimerSetTimeFlags::empty())?;
    // tokio's only way to await any descriptor without unsafe code; all that
    // it does here is to wait until the descriptor is readable.
    let timer = Receiver::from_owned_fd_unchecked(timer.into())?;
    timer.readable().await
}

/// Milliseconds that may have a fraction; never negative.
pub(super) fn millis(value: f64) -> Duration {
    Duration::try_from_secs_f64(value / 1e3).unwrap_or_default()
}
