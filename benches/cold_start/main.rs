//! Cold starts over a slow network, against nydusd: the same images, the same
//! registry, the same guest, and a fresh daemon with an empty cache for each
//! sample. See `scripts/bench-cold-start`.
//!
//! Every byte that a guest reads is compared with the tree that the image was
//! made of. The registry runs in a process of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../tests/support/mod.rs"]
mod support;

#[path = "../serve/statistics.rs"]
#[allow(dead_code, reason = "its other half is for the other benchmark")]
mod statistics;

mod catalog;
mod guest;
mod program;
mod report;
mod rows;
mod short;
mod side;
mod source;
mod world;

use std::io;
use std::path::PathBuf;

use clap::Parser;

use report::Report;
use rows::Bench;
use side::Side;

/// Options of the benchmark.
#[derive(Debug, Parser)]
struct Options {
    /// Debian tree with python3; its image is made once.
    #[arg(long, required_unless_present_any = ["bench", "registry"])]
    python: Option<PathBuf>,
    /// Debian tree with node and a JVM; without it, their rows are left out.
    #[arg(long)]
    servers: Option<PathBuf>,
    /// Where images and recordings are kept.
    #[arg(long, required_unless_present_any = ["bench", "registry"])]
    store: Option<PathBuf>,
    /// Where `nydusd` and `nydus-image` are.
    #[arg(long, required_unless_present_any = ["bench", "registry"])]
    peers: Option<PathBuf>,
    /// Only rows whose name holds this text.
    #[arg(long, default_value = "")]
    only: String,
    /// Tidegate alone, one run of the first rows on an image of its own; fails
    /// unless requests overlap and every byte is right.
    #[arg(long)]
    short: bool,
    /// Samples of each side, interleaved.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Leave nydusd out.
    #[arg(long)]
    no_peers: bool,
    /// Also measure Tidegate with these options, separated by blanks; may be
    /// given several times.
    #[arg(long, allow_hyphen_values = true)]
    variant: Vec<String>,
    /// Leave Tidegate out.
    #[arg(long)]
    only_peers: bool,
    /// Also write the numbers here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the registry's log of the last sample here: each request with its
    /// range and times.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Be the registry of the blobs in this directory.
    #[arg(long, hide = true)]
    registry: Option<PathBuf>,
    /// Given by `cargo bench`; means nothing.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    if let Some(directory) = &options.registry {
        return source::serve(directory);
    }
    let (Some(python), Some(store), Some(peers)) = (options.python, options.store, options.peers)
    else {
        println!("Nothing to measure: see scripts/bench-cold-start.");
        return Ok(());
    };
    if options.short {
        return short::run(&python, &peers);
    }
    let mut sides = Vec::new();
    if !options.only_peers {
        sides.push(Side::tidegate());
    }
    for variant in &options.variant {
        let words: Vec<&str> = variant.split_whitespace().collect();
        sides.push(Side::tidegate_with(&format!("tidegate {variant}"), &words));
    }
    if !options.no_peers {
        sides.extend([Side::AMPLIFYING, Side::PLAIN]);
    }
    let mut bench = Bench {
        runs: options.runs,
        only: options.only,
        peers,
        store,
        python,
        servers: options.servers,
        sides,
        log: options.log,
        report: Report::default(),
    };
    rows::run(&mut bench)?;
    match &options.json {
        Some(path) => bench.report.write(path),
        None => Ok(()),
    }
}
