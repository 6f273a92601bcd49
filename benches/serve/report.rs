//! The table, and the same as JSON.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::rows::{Row, Sample};
use crate::statistics::{interval, median};

/// Prints rows as they come and keeps them.
pub(crate) struct Report {
    head: Value,
    rows: Vec<Value>,
}

impl Report {
    pub(crate) fn new(a: &str, b: &str) -> Self {
        println!("A: {a}\nB: {b}");
        println!(
            "{:<28} {:>7} {:>15} {:>11} {:>11} {:<8} {:>8} {:>8}",
            "row", "A/B", "95 %", "A", "B", "unit", "CPU A", "CPU B"
        );
        Self {
            head: json!({ "a": a, "b": b }),
            rows: Vec::new(),
        }
    }

    /// One comparison: rates (more is better) and the daemon's CPU time.
    pub(crate) fn row(&mut self, row: &Row, samples: &[Vec<Sample>; 2]) {
        let pairs = samples[0].iter().zip(&samples[1]);
        let ratios: Vec<f64> = pairs.map(|(a, b)| a.rate / b.rate).collect();
        let (low, high) = interval(&ratios);
        let ratio = median(&ratios);
        let rates = samples
            .each_ref()
            .map(|s| median(&column(s, |sample| sample.rate)));
        let cpu = samples
            .each_ref()
            .map(|s| median(&column(s, |sample| sample.cpu)));
        println!(
            "{:<28} {ratio:>7.3} {:>15} {:>11.0} {:>11.0} {:<8} {:>8.3} {:>8.3} {}",
            row.name(),
            format!("{low:.3}-{high:.3}"),
            rates[0],
            rates[1],
            row.unit(),
            cpu[0],
            cpu[1],
            row.cpu_unit()
        );
        self.rows.push(json!({
            "row": row.name(), "ratio": ratio, "low": low, "high": high, "unit": row.unit(),
            "a": rates[0], "b": rates[1], "cpu_unit": row.cpu_unit(), "cpu_a": cpu[0],
            "cpu_b": cpu[1], "pairs": ratios.len(),
        }));
    }

    /// A row that one of the daemons cannot do.
    pub(crate) fn skipped(&mut self, row: &Row) {
        println!("{:<28} {:>7}", row.name(), "-");
        self.rows
            .push(json!({ "row": row.name(), "skipped": true }));
    }

    /// Absolute numbers of both sides, of which less is better.
    pub(crate) fn plain(&mut self, name: &str, values: [Vec<u64>; 2]) {
        let medians = values.map(|mut side| {
            side.sort_unstable();
            side.get(side.len() / 2).copied().unwrap_or(0)
        });
        println!("{name:<44} {:>11} {:>11}", medians[0], medians[1]);
        self.rows
            .push(json!({ "row": name, "a": medians[0], "b": medians[1] }));
    }

    /// Writes everything that was printed.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let whole = json!({ "daemons": self.head, "rows": self.rows });
        fs::write(path, format!("{whole:#}\n"))
    }
}

fn column(samples: &[Sample], pick: impl Fn(&Sample) -> f64) -> Vec<f64> {
    samples.iter().map(pick).collect()
}
