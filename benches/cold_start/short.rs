//! The form that a test run can afford: counts, not times.

use std::io;
use std::path::Path;

use crate::guest::read_all;
use crate::report::{Line, Sample};
use crate::rows::{Contender, DEPTH, files, network, random};
use crate::side::Side;
use crate::world::World;

/// What Tidegate may ask the registry for at most, for each chunk that is
/// wanted: merged requests are fewer, and neighbours come along.
const GETS_PER_READ: f64 = 1.1;

/// Runs both rows once on an image of this build.
pub(crate) fn run(source: &Path, peers: &Path) -> io::Result<()> {
    let files = tempfile::tempdir()?;
    let world = World::tidegate(source, &files.path().join("image"), peers, &[])?;
    let contender = Contender {
        side: Side::tidegate(),
        world: &world,
    };
    let rows = [
        (
            "300 random reads",
            random::distinct(&world.catalog, 300, 42),
        ),
        ("200 small files", files::small(&world.catalog, 200)),
    ];
    for (name, asks) in rows {
        let sample = contender.sample(&network(20.0, 100), &|world, started| {
            read_all(&mut started.guest, &asks, DEPTH, &world.catalog)
        })?;
        judge(name, asks.len(), &sample)?;
    }
    Ok(())
}

fn judge(name: &str, asks: usize, sample: &Sample) -> io::Result<()> {
    let samples = std::slice::from_ref(sample);
    let line = Line::new(name, "tidegate".into(), false, samples);
    println!(
        "{name}: {:.3} s, {} requests, {} at once, {} bytes, {} wrong, {} failed",
        line.seconds, line.requests, line.most, line.bytes, line.wrong, line.failed
    );
    let asks = crate::report::float(u64::try_from(asks).unwrap_or(0));
    let faults = [
        (line.wrong > 0, "bytes were wrong"),
        (line.failed > 0, "reads failed"),
        (line.most < 4.0, "requests did not overlap"),
        (
            line.requests > asks * GETS_PER_READ,
            "there were too many requests",
        ),
    ];
    match faults.iter().find(|(is_so, _)| *is_so) {
        Some((_, fault)) => Err(io::Error::other(format!("{name}: {fault}"))),
        None => Ok(()),
    }
}
