//! What is measured. Each row makes its samples on all sides in turn, each
//! from an empty cache.

mod altered;
mod background;
mod beside;
pub(crate) mod files;
pub(crate) mod random;
mod start;
mod whole;

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::guest::Outcome;
use crate::program::Tree;
use crate::report::{Line, Report, Sample};
use crate::side::{Side, Started};
use crate::support::registry::Settings;
use crate::world::World;

/// Everything that rows share.
pub(crate) struct Bench {
    pub(crate) runs: usize,
    /// Rows whose name holds this text.
    pub(crate) only: String,
    pub(crate) peers: PathBuf,
    /// Where images and recordings are kept.
    pub(crate) store: PathBuf,
    pub(crate) python: PathBuf,
    pub(crate) servers: Option<PathBuf>,
    /// Daemons to compare.
    pub(crate) sides: Vec<Side>,
    /// Where the registry's log of the last sample goes.
    pub(crate) log: Option<PathBuf>,
    pub(crate) report: Report,
}

/// Requests in flight at a guest that is busy.
pub(crate) const DEPTH: usize = 16;

/// All rows.
pub(crate) fn run(bench: &mut Bench) -> io::Result<()> {
    let (python, store, peers) = (&bench.python, &bench.store, &bench.peers);
    let world = World::nydus(python, store, peers)?;
    bench.report.head();
    random::run(bench, &world)?;
    files::run(bench, &world)?;
    start::run(bench, &world, Tree::Python)?;
    beside::run(bench, &world)?;
    whole::run(bench, &world)?;
    altered::run(bench, &world)?;
    background::run(bench, &world)?;
    if let Some(servers) = bench.servers.clone() {
        let world = World::nydus(&servers, &bench.store, &bench.peers)?;
        start::run(bench, &world, Tree::Servers)?;
    }
    Ok(())
}

/// A registry at so many milliseconds and megabytes per second.
pub(crate) fn network(rtt_ms: f64, megabytes: u64) -> Settings {
    Settings {
        rtt_ms,
        bandwidth: megabytes * 1_000_000,
        ..Settings::default()
    }
}

impl Bench {
    pub(crate) fn wants(&self, row: &str) -> bool {
        row.contains(&self.only)
    }

    /// All daemons on one image.
    pub(crate) fn sides_on<'a>(&self, world: &'a World) -> Vec<Contender<'a>> {
        let sides = self.sides.iter().cloned();
        sides.map(|side| Contender { side, world }).collect()
    }

    /// Takes samples of all contenders in turn and reports their medians.
    pub(crate) fn compare(
        &mut self,
        row: &str,
        network: &Settings,
        contenders: &[Contender<'_>],
        work: &dyn Fn(&World, &mut Started) -> io::Result<Outcome>,
    ) -> io::Result<Vec<Line>> {
        let mut samples = vec![Vec::new(); contenders.len()];
        for run in 0..self.runs {
            for turn in 0..contenders.len() {
                // Who goes first takes turns too.
                let index = (turn + run) % contenders.len();
                samples[index].push(contenders[index].sample(network, work)?);
                if let Some(path) = &self.log {
                    fs::write(path, contenders[index].world.registry.log()?)?;
                }
            }
        }
        let lines: Vec<Line> = contenders
            .iter()
            .zip(&samples)
            .map(|(it, samples)| Line::new(row, it.side.name(), it.side.is_peer(), samples))
            .collect();
        self.report.row(&lines);
        Ok(lines)
    }
}

/// A daemon on an image.
#[derive(Clone)]
pub(crate) struct Contender<'a> {
    pub(crate) side: Side,
    pub(crate) world: &'a World,
}

impl Contender<'_> {
    /// One run from an empty cache.
    pub(crate) fn sample(
        &self,
        network: &Settings,
        work: &dyn Fn(&World, &mut Started) -> io::Result<Outcome>,
    ) -> io::Result<Sample> {
        let registry = &self.world.registry;
        registry.set(network)?;
        let mut started = self.side.start(self.world, &registry.host, DEPTH)?;
        let outcome = work(self.world, &mut started).map_err(|error| {
            let said = started.daemon.complaints();
            io::Error::other(format!("{}: {error}: {said}", self.side.name()))
        })?;
        let counts = registry.counts()?;
        let cpu = started.daemon.cpu()?.as_secs_f64();
        Ok(Sample {
            outcome,
            counts,
            cpu,
        })
    }
}
