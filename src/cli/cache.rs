//! `tidegate cache`: looks after a host's cache of chunks.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand};

use crate::cli::{Failure, Outcome, size};
use crate::store::{CacheDirectory, GcOptions, StatReport};

/// Look after the cache of chunks that the daemons of a host share. Safe while
/// they run.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what the cache holds.
    Stat(Common),
    /// Prove every chunk whose digest is written down. Bad ones are taken out of
    /// use, with a line each; exit status 1 if there is any.
    Verify(Common),
    /// Free what no chunk takes, remove blobs without chunks, and evict what was
    /// not used for longest down to a limit.
    Gc(Gc),
}

#[derive(Debug, Args)]
struct Common {
    /// The directory that the daemons are given.
    #[arg(long, value_name = "DIR")]
    cache: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Gc {
    #[command(flatten)]
    common: Common,
    /// Evict until the cache takes no more than this.
    #[arg(long, value_name = "SIZE", value_parser = size::on_disk)]
    limit: Option<u64>,
    /// Remove blobs that no daemon has open and that were not used for so long.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    unused_for: Option<Duration>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    match &arguments.command {
        Command::Stat(common) => stat(common),
        Command::Verify(common) => verify(common),
        Command::Gc(gc) => collect(gc),
    }
}

fn stat(common: &Common) -> Result<Outcome, Failure> {
    let report = CacheDirectory::open(&common.cache)?.stat()?;
    if common.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print_stat(&report);
    }
    Ok(Outcome::Done)
}

fn print_stat(report: &StatReport) {
    println!("directory  {}", report.directory);
    println!("on disk    {}", ByteSize(report.bytes));
    println!("chunks     {}", report.chunks);
    let index = ByteSize(report.index_bytes);
    println!("index      {} entries, {index}", report.index_entries);
    println!("blobs      {}", report.blobs.len());
    for blob in &report.blobs {
        let used = if blob.in_use { ", in use" } else { "" };
        println!(
            "  {}: {} of {} chunks, {}{used}",
            blob.key,
            blob.resident,
            blob.chunks,
            ByteSize(blob.bytes)
        );
    }
    for name in &report.foreign {
        println!("not ours   {name}");
    }
}

fn verify(common: &Common) -> Result<Outcome, Failure> {
    let report = CacheDirectory::open(&common.cache)?.verify()?;
    if common.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        for bad in &report.bad {
            println!("{bad}");
        }
        println!(
            "{} chunks ({}) are right, {} are not, {} have no digest here, {} were busy",
            report.good,
            ByteSize(report.bytes),
            report.bad.len(),
            report.unknown,
            report.busy
        );
    }
    Ok(if report.bad.is_empty() {
        Outcome::Done
    } else {
        Outcome::Faults
    })
}

fn collect(gc: &Gc) -> Result<Outcome, Failure> {
    let options = GcOptions {
        limit: gc.limit,
        unused_for: gc.unused_for,
    };
    let report = CacheDirectory::open(&gc.common.cache)?.gc(options)?;
    if gc.common.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!(
            "{} before, {} now; {} evicted, {} blobs removed, {} chunks in the index",
            ByteSize(report.before),
            ByteSize(report.after),
            ByteSize(report.evicted),
            report.removed_blobs,
            report.index_entries
        );
    }
    Ok(Outcome::Done)
}
