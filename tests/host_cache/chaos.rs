//! Two daemons on one cache are killed at random moments, and the cache is left
//! as a power cut may leave it; after each restart only right bytes.
//!
//! `TIDEGATE_CHAOS_ROUNDS` (10), `TIDEGATE_CHAOS_FIRST` (0) and
//! `TIDEGATE_CHAOS_SEED` choose other rounds; `TIDEGATE_CHAOS_CACHE` keeps the
//! cache in a directory. `scripts/chaos-cache` runs many and can go on.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::power_cut::{cut, synced};
use crate::rig::{Dice, Rig, count, guest};

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |text| text.parse().unwrap())
}

#[test]
fn daemons_that_are_killed_leave_a_cache_of_which_only_right_bytes_are_served() {
    let rig = Rig::new(&(0..24).collect::<Vec<_>>());
    let first = number("TIDEGATE_CHAOS_FIRST", 0);
    let seed = number("TIDEGATE_CHAOS_SEED", 1);
    let own = rig.cache().to_owned();
    let cache = std::env::var_os("TIDEGATE_CHAOS_CACHE").map_or(own, PathBuf::from);
    for round in first..first + number("TIDEGATE_CHAOS_ROUNDS", 10) {
        let mut dice = Dice(seed.wrapping_mul(1_000_003).wrapping_add(round));
        dice.below(1);
        let said = one(&rig, &cache, &mut dice);
        println!("round {round} of seed {seed}: {said}");
    }
    // Left alone, the cache is whole again.
    let daemon = rig.serve_on(&cache, &[]);
    let mut guest = guest(&daemon);
    rig.check_all(&mut guest, 0);
    let before = count(&daemon, "fetched_chunks");
    rig.check_all(&mut guest, 0);
    assert_eq!(count(&daemon, "fetched_chunks"), before);
}

/// One round; what was done in it.
fn one(rig: &Rig, cache: &std::path::Path, dice: &mut Dice) -> String {
    let dir = cache.join("tidegate/v1");
    let limit = (rig.size() / 3).to_string();
    let arguments: &[&str] = match dice.below(2) {
        0 => &[],
        _ => &["--cache-limit", &limit],
    };
    let daemons = [
        rig.serve_on(cache, arguments),
        rig.serve_on(cache, arguments),
    ];
    let pauses = [(); 2].map(|()| Duration::from_micros(dice.below(120_000)));
    let stops = [(); 2].map(|()| AtomicBool::new(false));
    let from = [(); 2].map(|()| dice.place(rig.files()));
    let mut before = synced(&dir);
    let read: usize = thread::scope(|scope| {
        let readers = [0, 1].map(|reader| {
            let (mut guest, stop) = (guest(&daemons[reader]), &stops[reader]);
            scope.spawn(move || {
                let files = (0..).map(|number| (from[reader] + number) % rig.files());
                files
                    .take_while(|&file| rig.check(&mut guest, file, stop))
                    .count()
            })
        });
        thread::sleep(pauses[0] / 2);
        before = synced(&dir);
        for ((daemon, stop), pause) in daemons.iter().zip(&stops).zip(pauses) {
            thread::sleep(pause);
            stop.store(true, SeqCst);
            daemon.signal(Signal::SIGKILL).unwrap();
        }
        readers.map(|reader| reader.join().unwrap()).iter().sum()
    });
    drop(daemons);
    let fates = match dice.below(3) {
        0 => vec!["power stayed".to_owned()],
        _ => cut(&dir, &before, dice),
    };
    format!("{read} files read, {arguments:?}; {}", fates.join(", "))
}
