//! The whole image read from its first to its last file, against `curl` of the
//! same blob.

use std::io;
use std::process::Command;
use std::time::Instant;

use super::{Bench, network};
use crate::guest::{Ask, read_all};
use crate::statistics::median;
use crate::world::World;

/// Bytes of a read, as a guest's readahead makes them.
const READ: u64 = 128 << 10;

/// Reads in flight.
const DEPTH: usize = 4;

pub(crate) fn run(bench: &mut Bench, world: &World) -> io::Result<()> {
    for rtt in [1.0, 20.0] {
        let name = format!("e whole image, {rtt} ms, 100 MB/s");
        if bench.wants(&name) {
            one(bench, world, &name, rtt)?;
        }
    }
    Ok(())
}

fn one(bench: &mut Bench, world: &World, name: &str, rtt: f64) -> io::Result<()> {
    let network = network(rtt, 100);
    let asks = everything(world);
    let (blob, length) = world.largest_blob()?;
    let mut times = Vec::new();
    for _ in 0..bench.runs.max(3) {
        world.registry.set(&network)?;
        times.push(curl(&world.registry.host, &blob)?);
    }
    let time = median(&times);
    let sides = bench.sides_on(world);
    let lines = bench.compare(name, &network, &sides, &|world, started| {
        read_all(&mut started.guest, &asks, DEPTH, &world.catalog)
    })?;
    bench.report.note(&format!(
        "curl of the blob ({:.1} MiB): {time:.3} s; times against it: {}",
        crate::report::float(length) / 1_048_576.0,
        lines
            .iter()
            .map(|line| format!("{} {:.2}", line.side, line.seconds / time))
            .collect::<Vec<_>>()
            .join(", ")
    ));
    Ok(())
}

/// Every byte of every file, in the order in which the blob holds the files.
fn everything(world: &World) -> Vec<Ask> {
    let mut files: Vec<_> = world.catalog.files.iter().collect();
    files.sort_by_key(|file| {
        let first = file.pieces.first();
        first.map(|piece| (piece.id.0, piece.stored_offset))
    });
    let mut asks = Vec::new();
    for file in files {
        let mut offset = 0;
        while offset < file.size {
            let len = (file.size - offset).next_multiple_of(4096).min(READ);
            asks.push(Ask {
                path: file.path.clone(),
                offset,
                len: usize::try_from(len).unwrap_or(4096),
            });
            offset += len;
        }
    }
    asks
}

fn curl(host: &str, blob: &str) -> io::Result<f64> {
    let url = format!("http://{host}/v2/cold/start/blobs/sha256:{blob}");
    let start = Instant::now();
    let status = Command::new("curl")
        .args(["--silent", "--fail", "--output", "/dev/null", &url])
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!(
            "curl of {url} ended with {status}"
        )));
    }
    Ok(start.elapsed().as_secs_f64())
}
