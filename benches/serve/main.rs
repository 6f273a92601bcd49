//! Compares two daemons (or one with itself under other options) through their
//! vhost-user sockets: same guest, same tree, samples taken in turn.
//!
//! `{socket}` and `{work}` in a command line are replaced by the socket's path
//! and a directory of the daemon's own. See `scripts/bench`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod load;
mod report;
mod rows;
mod start;
mod statistics;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use rows::{ROWS, Row, Side};
use support::daemon::{SOCKET, WORK};

/// Which two daemons to compare without spelling them out.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Preset {
    /// `--verify always` against `--verify off`.
    Verify,
}

/// Options of the benchmark.
#[derive(Debug, Parser)]
struct Options {
    /// Command line of the first daemon.
    #[arg(long, required_unless_present_any = ["preset", "bench"])]
    a: Option<String>,
    /// Command line of the second daemon.
    #[arg(long, required_unless_present_any = ["preset", "bench"])]
    b: Option<String>,
    /// Fills both command lines; needs `--bootstrap` and `--blobs`.
    #[arg(long)]
    preset: Option<Preset>,
    /// Bootstrap for a preset.
    #[arg(long)]
    bootstrap: Option<PathBuf>,
    /// Blobs for a preset.
    #[arg(long)]
    blobs: Option<PathBuf>,
    /// Pairs of samples for each row.
    #[arg(long, default_value_t = 20)]
    pairs: usize,
    /// Length of a sample in milliseconds.
    #[arg(long, default_value_t = 200)]
    sample_ms: u64,
    /// Core of the daemons.
    #[arg(long, default_value_t = 0)]
    daemon_cpu: usize,
    /// Core of the guest.
    #[arg(long, default_value_t = 1)]
    guest_cpu: usize,
    /// Megabytes of files that the reads are spread over.
    #[arg(long, default_value_t = 200)]
    set_mb: u64,
    /// Only rows whose name holds this text.
    #[arg(long, default_value = "")]
    only: String,
    /// Starts for the row about starting; 0 leaves it out.
    #[arg(long, default_value_t = 50)]
    starts: usize,
    /// Also write the numbers here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Given by `cargo bench`; means nothing.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn lines(&self) -> Option<(String, String)> {
        if self.preset.is_none() {
            return self.a.clone().zip(self.b.clone());
        }
        let bootstrap = self.bootstrap.as_ref().expect("--preset needs --bootstrap");
        let blobs = self.blobs.as_ref().expect("--preset needs --blobs");
        let line = |verify: &str| {
            format!(
                "{} serve --socket {SOCKET} --bootstrap {} --blobs {} --cache {WORK}/cache --verify {verify}",
                env!("CARGO_BIN_EXE_tidegate"),
                bootstrap.display(),
                blobs.display()
            )
        };
        Some((line("always"), line("off")))
    }
}

fn main() {
    let options = Options::parse();
    let Some((a, b)) = options.lines() else {
        println!("Nothing to compare: give --a and --b, or --preset. See scripts/bench.");
        return;
    };
    let mut report = report::Report::new(&a, &b);
    let pin = |line: &str| start::pinned(line, options.daemon_cpu);
    let (a, b) = (pin(&a), pin(&b));
    start::stay_on(options.guest_cpu);
    let mut sides = [
        Side::start(&a, options.set_mb << 20).expect("the first daemon serves"),
        Side::start(&b, options.set_mb << 20).expect("the second daemon serves"),
    ];
    let length = Duration::from_millis(options.sample_ms);
    for row in ROWS.iter().filter(|row| row.name().contains(&options.only)) {
        compare(row, &mut sides, &options, length, &mut report);
    }
    let memory = sides
        .each_ref()
        .map(|side| side.daemon.anonymous().unwrap_or(0));
    report.plain(
        "anonymous memory after the rows, KiB",
        memory.map(|kib| vec![kib]),
    );
    drop(sides);
    if options.starts > 0 {
        let (times, idle) = start::measure([&a, &b], options.starts);
        report.plain("exec to listening socket, µs (p50)", times);
        report.plain("anonymous memory when idle, KiB", idle);
    }
    if let Some(path) = &options.json {
        report.write(path).expect("the JSON file can be written");
    }
}

fn compare(
    row: &Row,
    sides: &mut [Side; 2],
    options: &Options,
    length: Duration,
    report: &mut report::Report,
) {
    if sides[0].queues < row.queues {
        report.skipped(row);
        return;
    }
    // A peer with a single queue gets the same depth on that.
    let queues_b = row.queues.min(sides[1].queues);
    let row = &Row { queues_b, ..*row };
    let rows = [
        *row,
        Row {
            queues: queues_b,
            ..*row
        },
    ];
    // The first sample of each warms up.
    for (side, row) in sides.iter_mut().zip(&rows) {
        row.sample(side, length).expect("the warm-up is served");
    }
    let mut samples = [Vec::new(), Vec::new()];
    for pair in 0..options.pairs {
        // Who goes first takes turns too.
        for turn in [pair % 2, 1 - pair % 2] {
            samples[turn].push(
                rows[turn]
                    .sample(&mut sides[turn], length)
                    .expect("the row is served"),
            );
        }
    }
    report.row(row, &samples);
}
