//! The table, and the same as JSON.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::guest::Outcome;
use crate::statistics::median;
use crate::support::registry::Counts;

/// One run of a row on one side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) outcome: Outcome,
    pub(crate) counts: Counts,
    /// Seconds of CPU of the daemon, its start included.
    pub(crate) cpu: f64,
}

/// Medians of a row on one side.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) row: String,
    pub(crate) side: String,
    pub(crate) peer: bool,
    pub(crate) runs: usize,
    pub(crate) seconds: f64,
    pub(crate) requests: f64,
    pub(crate) bytes: f64,
    pub(crate) most: f64,
    pub(crate) cpu: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Of all runs together.
    pub(crate) wrong: u64,
    pub(crate) failed: u64,
}

impl Line {
    pub(crate) fn new(row: &str, side: String, peer: bool, samples: &[Sample]) -> Self {
        let middle =
            |pick: &dyn Fn(&Sample) -> f64| median(&samples.iter().map(pick).collect::<Vec<_>>());
        Self {
            row: row.to_owned(),
            side,
            peer,
            runs: samples.len(),
            seconds: middle(&|s| s.outcome.seconds),
            requests: middle(&|s| float(s.counts.blob_gets)),
            bytes: middle(&|s| float(s.counts.bytes)),
            most: middle(&|s| float(s.counts.most_in_flight)),
            cpu: middle(&|s| s.cpu),
            p50_ms: middle(&|s| percentile(&s.outcome.latencies, 0.50)),
            p99_ms: middle(&|s| percentile(&s.outcome.latencies, 0.99)),
            wrong: samples.iter().map(|s| s.outcome.wrong).sum(),
            failed: samples.iter().map(|s| s.outcome.failed).sum(),
        }
    }
}

/// Prints rows as they come and keeps them.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Value>,
}

impl Report {
    pub(crate) fn head(&self) {
        println!(
            "{:<36} {:<26} {:>8} {:>6} {:>8} {:>5} {:>6} {:>8} {:>8} {:>6} {:>5} {:>6}",
            "row",
            "side",
            "s",
            "GETs",
            "MiB",
            "most",
            "CPU s",
            "p50 ms",
            "p99 ms",
            "wrong",
            "EIO",
            "ratio"
        );
    }

    /// One row: a line for each side, compared with the better peer.
    pub(crate) fn row(&mut self, lines: &[Line]) {
        let best = |pick: fn(&Line) -> f64| {
            let peers = lines.iter().filter(|line| line.peer).map(pick);
            peers.min_by(f64::total_cmp)
        };
        let (time, bytes) = (best(|line| line.seconds), best(|line| line.bytes));
        for line in lines {
            let ratio = time.map(|best| line.seconds / best);
            println!(
                "{:<36} {:<26} {:>8.3} {:>6.0} {:>8.2} {:>5.0} {:>6.2} {:>8.2} {:>8.2} {:>6} {:>5} {:>6}",
                line.row,
                line.side,
                line.seconds,
                line.requests,
                line.bytes / 1_048_576.0,
                line.most,
                line.cpu,
                line.p50_ms,
                line.p99_ms,
                line.wrong,
                line.failed,
                ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}")),
            );
            self.rows.push(json!({
                "row": line.row, "side": line.side, "runs": line.runs, "seconds": line.seconds,
                "requests": line.requests, "bytes": line.bytes, "most_in_flight": line.most, "cpu_seconds": line.cpu,
                "p50_ms": line.p50_ms, "p99_ms": line.p99_ms, "wrong": line.wrong,
                "failed": line.failed, "time_ratio": ratio,
                "bytes_ratio": bytes.map(|best| line.bytes / best),
            }));
        }
    }

    /// A fact beside the table.
    pub(crate) fn note(&mut self, text: &str) {
        println!("  {text}");
        self.rows.push(json!({ "note": text }));
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, format!("{:#}\n", json!({ "rows": self.rows })))
    }
}

/// Milliseconds that so many of the values stay below.
pub(crate) fn percentile(values: &[Duration], part: f64) -> f64 {
    let mut millis: Vec<f64> = values
        .iter()
        .map(|value| value.as_secs_f64() * 1e3)
        .collect();
    millis.sort_by(f64::total_cmp);
    let rank = part * float(u64::try_from(millis.len()).unwrap_or(0));
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank below the length"
    )]
    let index = (rank.ceil() as usize).saturating_sub(1);
    millis.get(index).copied().unwrap_or(0.0)
}

/// Exact up to 2^53, which no count here reaches.
pub(crate) fn float(count: u64) -> f64 {
    let (high, low) = (count >> 32, count & 0xffff_ffff);
    f64::from(u32::try_from(high).unwrap_or(0)) * 4_294_967_296.0
        + f64::from(u32::try_from(low).unwrap_or(0))
}
