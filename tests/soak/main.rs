//! What a daemon needs stays the same however long it serves: descriptors, threads
//! and memory, over mounts that come and go and over a mixed load.
//!
//! The short forms run with the other tests; `scripts/soak` runs the long ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// Not all of it is used here.
#[allow(dead_code)]
#[path = "../kata/clients.rs"]
mod clients;
mod guest;
mod load;
mod samples;
#[path = "../support/mod.rs"]
mod support;
mod verdict;
mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::load::Load;
use self::verdict::{Length, Verdict};

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |text| text.parse().unwrap())
}

#[test]
fn mounts_that_come_and_go_for_a_while_cost_nothing() {
    let home = tempfile::tempdir().unwrap();
    let load = Load::new(home.path(), 1);
    load.cycles(number("TIDEGATE_CYCLES", 1000))
        .assert(Length::Short);
}

#[test]
fn a_mixed_load_for_a_while_costs_nothing() {
    let home = tempfile::tempdir().unwrap();
    let load = Load::new(home.path(), 1);
    let time = Duration::from_secs(number("TIDEGATE_SOAK_SECONDS", 20));
    load.mixed(time, Duration::from_millis(200))
        .assert(Length::Short);
}

/// Both for long. A part that came out flat before, with the same seed and length, is
/// not done again.
#[test]
#[ignore = "takes hours: scripts/soak runs it"]
fn for_long() {
    let dir = PathBuf::from(std::env::var_os("TIDEGATE_SOAK_DIR").expect("TIDEGATE_SOAK_DIR"));
    let seed = number("TIDEGATE_SOAK_SEED", 1);
    let load = Load::new(&dir, seed);
    let cycles = number("TIDEGATE_CYCLES", 10_000);
    part(&dir, &format!("{cycles} cycles, seed {seed}"), || {
        load.cycles(cycles)
    });
    let seconds = number("TIDEGATE_SOAK_SECONDS", 3600);
    part(
        &dir,
        &format!("{seconds} s of mixed load, seed {seed}"),
        || load.mixed(Duration::from_secs(seconds), Duration::from_secs(2)),
    );
}

fn part(dir: &Path, name: &str, run: impl FnOnce() -> Verdict) {
    let done = dir.join("verdicts");
    let before = std::fs::read_to_string(&done).unwrap_or_default();
    let old = before.lines().find(|line| line.starts_with(name));
    if let Some(line) = old.filter(|line| line.ends_with(verdict::FLAT)) {
        println!("done before: {line}");
        return;
    }
    let verdict = run();
    let line = format!("{name}: {verdict}");
    println!("{line}");
    std::fs::write(&done, format!("{before}{line}\n")).unwrap();
    verdict.assert(Length::Long);
}
