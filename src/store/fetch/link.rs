//! What the sources' link carries: round trip and bandwidth, measured from the
//! requests that are made anyway, and the sizes that follow from them.

use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

/// Bandwidth that is assumed before it is measured, in bytes per second.
const FIRST_RATE: f64 = 10e6;

/// Round trip that is assumed before it is measured.
const FIRST_RTT: Duration = Duration::from_millis(5);

/// A sample of the bandwidth covers at least this time and these bytes, or
/// what came in is a burst out of a buffer.
const SAMPLE_TIME: Duration = Duration::from_micros(500);
const SAMPLE_BYTES: u64 = 64 << 10;

/// Weight of a new sample of the bandwidth, and the time that it must cover to
/// get it; shorter ones get less.
const RATE_WEIGHT: f64 = 0.3;
const FULL_SAMPLE: f64 = 4e-3;

/// Round trip that windows of readahead are made for at least: shorter ones are
/// hidden behind the work on this side.
const SHORTEST: f64 = 0.01;

/// How fast the round trip that is believed grows towards longer ones; shorter
/// ones are believed at once.
const RTT_WEIGHT: f64 = 1.0 / 64.0;

/// The measured figures.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct LinkFigures {
    /// Round trip in seconds: from a request to the first byte of its answer.
    pub round_trip_seconds: f64,
    /// Bytes per second that all bodies together bring.
    pub bytes_per_second: f64,
}

/// Sizes in bytes that follow from the figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// What the link carries in a round trip.
    pub(super) round_trip: u64,
    /// Bytes of readahead under way at once while nobody waits.
    pub(super) readahead: u64,
    /// Bytes that readahead is in front of its reader at most.
    pub(super) distance: u64,
    /// Bytes of readahead under way at once while somebody waits.
    pub(super) beside: u64,
    /// Bytes of prefetch under way at once while nobody waits.
    pub(super) prefetch: u64,
    /// Bytes of prefetch under way at once while somebody waits.
    pub(super) trickle: u64,
}

/// The meter.
#[derive(Default)]
pub(super) struct Link {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rtt: Option<f64>,
    rate: Option<f64>,
    /// Bodies that are being read.
    bodies: usize,
    since: Option<Instant>,
    bytes: u64,
}

impl Link {
    /// Notes how long a request waited for the first byte of its answer.
    pub(super) fn answered(&self, waited: Duration) {
        let waited = waited.as_secs_f64();
        let mut state = self.state.lock();
        state.rtt = Some(match state.rtt {
            Some(rtt) if rtt < waited => rtt + (waited - rtt) * RTT_WEIGHT,
            _ => waited,
        });
    }

    /// Notes that a body began.
    pub(super) fn begin(&self) {
        let mut state = self.state.lock();
        state.bodies += 1;
        if state.bodies == 1 {
            state.restart();
        }
    }

    /// Notes bytes of a body. What comes with its head says nothing about the
    /// bandwidth and is not told here.
    pub(super) fn received(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        let Some(since) = state.since else { return };
        if state.bytes >= SAMPLE_BYTES && since.elapsed().as_secs_f64() >= FULL_SAMPLE {
            state.sample(since);
            state.restart();
        }
    }

    /// Notes that a body ended.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.bodies = state.bodies.saturating_sub(1);
        if state.bodies > 0 {
            return;
        }
        if let Some(since) = state.since.take()
            && state.bytes >= SAMPLE_BYTES
            && since.elapsed() >= SAMPLE_TIME
        {
            state.sample(since);
        }
    }

    /// What is known.
    pub(super) fn figures(&self) -> LinkFigures {
        let state = self.state.lock();
        LinkFigures {
            round_trip_seconds: state.rtt.unwrap_or(FIRST_RTT.as_secs_f64()),
            bytes_per_second: state.rate.unwrap_or(FIRST_RATE),
        }
    }

    /// The sizes that follow from what is known.
    pub(super) fn limits(&self) -> Limits {
        let figures = self.figures();
        let carried = figures.round_trip_seconds * figures.bytes_per_second;
        let times = |n: f64, least: f64, most: f64| bytes((carried * n).clamp(least, most));
        const MIB: f64 = 1_048_576.0;
        let stretch =
            SHORTEST.max(figures.round_trip_seconds) / figures.round_trip_seconds.max(1e-6);
        Limits {
            round_trip: times(1.0, 0.0, 16.0 * MIB),
            readahead: times(2.0 * stretch, MIB / 16.0, 32.0 * MIB),
            distance: times(8.0 * stretch, MIB / 16.0, 32.0 * MIB),
            beside: times(1.0, MIB / 16.0, 16.0 * MIB),
            prefetch: times(2.0, MIB / 4.0, 32.0 * MIB),
            trickle: times(0.25, MIB / 16.0, 2.0 * MIB),
        }
    }
}

impl State {
    fn restart(&mut self) {
        self.since = Some(Instant::now());
        self.bytes = 0;
    }

    fn sample(&mut self, since: Instant) {
        #[expect(clippy::cast_precision_loss, reason = "bytes of a few milliseconds")]
        let bytes = self.bytes as f64;
        let time = since.elapsed().as_secs_f64();
        let weight = RATE_WEIGHT * (time / FULL_SAMPLE).min(1.0);
        self.rate = Some(match self.rate {
            Some(old) => old + (bytes / time - old) * weight,
            None => bytes / time,
        });
    }
}

/// A size that is neither negative nor out of range.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller clamps it to 0 to 32 MiB"
)]
fn bytes(size: f64) -> u64 {
    size as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn round_trip_and_bandwidth_of_a_steady_link_are_found() {
        let link = Link::default();
        for _ in 0..20 {
            link.answered(Duration::from_millis(20));
            link.begin();
            for _ in 0..20 {
                tokio::time::advance(Duration::from_millis(1)).await;
                link.received(100_000);
            }
            link.end();
        }
        let figures = link.figures();
        assert!(
            (figures.round_trip_seconds - 0.02).abs() < 0.001,
            "{figures:?}"
        );
        assert!((figures.bytes_per_second - 1e8).abs() < 2e7, "{figures:?}");
        let limits = link.limits();
        assert!(
            (1_500_000..2_500_000).contains(&limits.round_trip),
            "{limits:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_out_of_a_buffer_says_nothing() {
        let link = Link::default();
        link.begin();
        link.received(50 << 20);
        link.end();
        assert!((link.figures().bytes_per_second - FIRST_RATE).abs() < 1.0);
    }

    #[test]
    fn a_shorter_round_trip_is_believed_at_once_and_a_longer_one_slowly() {
        let link = Link::default();
        link.answered(Duration::from_millis(50));
        link.answered(Duration::from_millis(5));
        assert!(link.figures().round_trip_seconds < 0.0051);
        link.answered(Duration::from_millis(69));
        assert!(link.figures().round_trip_seconds < 0.0061);
    }
}
