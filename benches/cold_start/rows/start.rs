//! The start of a program over a thin line, its requests one by one: without
//! knowing it, with a recorded trace, and from an image that was laid out by
//! that trace.

use std::io;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::{Bench, Contender, network};
use crate::program::replay::{replay, volume};
use crate::program::{PROGRAMS, Program, Step, Tree};
use crate::report::{Line, float};
use crate::side::Side;
use crate::support::registry::Settings;
use crate::world::World;

/// Bytes per second of the line, in millions.
const LINE: u64 = 3;

const MIB: f64 = 1_048_576.0;

pub(crate) fn run(bench: &mut Bench, world: &World, tree: Tree) -> io::Result<()> {
    for program in PROGRAMS.iter().filter(|program| program.tree == tree) {
        if bench.wants(&format!("c {}", program.name)) {
            one(bench, world, program)?;
        }
    }
    Ok(())
}

fn one(bench: &mut Bench, world: &World, program: &Program) -> io::Result<()> {
    let catalog = &world.catalog;
    let steps = program.steps(
        &catalog.source,
        &bench.store,
        &world.bootstrap,
        &world.blobs,
    )?;
    let volume = volume(&steps, &world.bootstrap, catalog)?;
    bench.report.note(&format!(
        "{}: {} requests, {} of them reads of {:.2} MiB, in {} chunks of {:.2} MiB compressed",
        program.name,
        steps.len(),
        volume.reads,
        float(volume.asked) / MIB,
        volume.chunks,
        float(volume.stored) / MIB,
    ));
    let files = tempfile::tempdir()?;
    let traced = bench
        .sides
        .contains(&Side::tidegate())
        .then(|| Traced::new(bench, world, &steps, &files));
    let traced = traced.transpose()?;
    for rtt in [5.0, 200.0] {
        let name = format!("c {}, {rtt} ms, {LINE} MB/s", program.name);
        let mut sides = bench.sides_on(world);
        if let Some(traced) = &traced {
            sides.splice(1..1, traced.contenders(world));
        }
        let lines = bench.compare(&name, &network(rtt, LINE), &sides, &|world, started| {
            replay(&mut started.guest, &steps, &world.catalog)
        })?;
        if let Some(traced) = &traced {
            traced.judge(bench, &lines, rtt, &steps)?;
        }
    }
    Ok(())
}

/// A program's trace as Tidegate recorded it, and the image laid out by it.
struct Traced {
    trace: String,
    laid_out: World,
}

impl Traced {
    /// Records one start on a fast line and builds.
    fn new(bench: &Bench, world: &World, steps: &[Step], files: &TempDir) -> io::Result<Self> {
        let trace = files.path().join("trace").display().to_string();
        record(world, steps, &trace)?;
        let (source, options) = (&world.catalog.source, ["--trace".to_owned(), trace.clone()]);
        let home = files.path().join("image");
        let laid_out = World::tidegate(source, &home, &bench.peers, &options)?;
        Ok(Self { trace, laid_out })
    }

    fn contenders<'a>(&'a self, world: &'a World) -> [Contender<'a>; 2] {
        let options = ["--replay-trace", &self.trace, "--record-trace", "off"];
        [
            Contender {
                side: Side::tidegate_with("tidegate, trace", &options),
                world,
            },
            Contender {
                side: Side::tidegate_with("tidegate, laid out", &[]),
                world: &self.laid_out,
            },
        ]
    }

    /// How far the image that was laid out is from what the line allows.
    fn judge(&self, bench: &mut Bench, lines: &[Line], rtt: f64, steps: &[Step]) -> io::Result<()> {
        let Some(line) = lines.iter().find(|line| line.side == "tidegate, laid out") else {
            return Ok(());
        };
        let least = volume(steps, &self.laid_out.bootstrap, &self.laid_out.catalog)?;
        let time = line.bytes / (float(LINE) * 1e6) + 3.0 * rtt / 1e3;
        bench.report.note(&format!(
            "laid out: bytes {:.2} of the {:.2} MiB of the touched chunks; time {:.2} of bytes / bandwidth + 3 RTT",
            line.bytes / float(least.stored),
            float(least.stored) / MIB,
            line.seconds / time,
        ));
        Ok(())
    }
}

/// Has Tidegate record one start.
fn record(world: &World, steps: &[Step], trace: &str) -> io::Result<()> {
    world.registry.set(&Settings::default())?;
    let side = Side::tidegate_with("recorder", &["--record-trace", trace]);
    let mut started = side.start(world, &world.registry.host, 2)?;
    replay(&mut started.guest, steps, &world.catalog)?;
    started.daemon.terminate(Duration::from_secs(10))?;
    if !Path::new(trace).exists() {
        let said = started.daemon.complaints();
        return Err(io::Error::other(format!("no trace was recorded: {said}")));
    }
    Ok(())
}
