//! The test registry as a program, for scripts and benchmarks.
//!
//! `cargo run --example test-registry -- --dir BLOBS [--port N] [--settings JSON]`
//! prints its URL and serves until it is killed. What it can do is told in
//! `tests/support/registry/mod.rs`.

#[path = "../tests/support/registry/mod.rs"]
mod registry;

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Parser;

use registry::{Registry, Settings};

#[derive(Debug, Parser)]
struct Options {
    /// Directory of the blobs, each named by its 64 hexadecimal digits.
    #[arg(long)]
    dir: PathBuf,
    /// Port of 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Settings to begin with, as JSON.
    #[arg(long, default_value = "{}")]
    settings: String,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let settings: Settings = serde_json::from_str(&options.settings)?;
    let registry = Registry::start_at(&options.dir, settings, options.port)?;
    writeln!(io::stdout(), "{}", registry.url())?;
    io::stdout().flush()?;
    registry.serve_for_ever();
    Ok(())
}
