//! What a process needs, again and again.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

/// What it needs at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the first.
    pub(crate) at: f64,
    /// What was done so far: cycles, or actions of the guest.
    pub(crate) done: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// Resident memory in KiB.
    pub(crate) resident: u64,
    /// The part of it that is no file's.
    pub(crate) anonymous: u64,
}

/// Takes samples of a process, and writes each to a log.
pub(crate) struct Samples {
    pid: u32,
    begun: Instant,
    log: File,
    pub(crate) all: Vec<Sample>,
}

impl Samples {
    pub(crate) fn new(pid: u32, log: &Path) -> Self {
        Self {
            pid,
            begun: Instant::now(),
            log: File::create(log).unwrap(),
            all: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, done: u64) {
        let of = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap();
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        let status = of("status");
        let sample = Sample {
            at: self.begun.elapsed().as_secs_f64(),
            done,
            descriptors: descriptors.count() as u64,
            threads: field(&status, "Threads:"),
            resident: field(&status, "VmRSS:"),
            anonymous: field(&of("smaps_rollup"), "Anonymous:"),
        };
        let line = serde_json::to_string(&sample).unwrap();
        writeln!(self.log, "{line}").unwrap();
        self.all.push(sample);
    }
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.unwrap().parse().unwrap()
}
