//! Two daemons on one cache.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::rig::{Rig, guest};

/// Times that each guest reads everything while the cache is being altered.
const ROUNDS: usize = 15;

#[test]
fn two_daemons_on_one_altered_cache_serve_the_right_bytes() {
    let rig = Rig::new();
    let daemons = [rig.serve(&[]), rig.serve(&[])];
    for daemon in &daemons {
        rig.check(&mut guest(daemon));
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers = daemons.each_ref().map(|daemon| {
            let rig = &rig;
            scope.spawn(move || {
                let mut guest = guest(daemon);
                // The first alterations may come late: read until both the
                // rounds are over and something had to be repaired.
                let mut round = 0;
                while round < ROUNDS || daemon.counters().unwrap()["repairs"] == 0 {
                    rig.check(&mut guest);
                    round += 1;
                }
            })
        });
        let vandal = scope.spawn(|| {
            for (chunk, _) in rig.chunks.iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                rig.alter_cached(chunk);
            }
        });
        let ends = readers.map(thread::ScopedJoinHandle::join);
        done.store(true, Ordering::Relaxed);
        vandal.join().unwrap();
        for end in ends {
            end.unwrap();
        }
    });
    for daemon in &daemons {
        let counters = daemon.counters().unwrap();
        println!("{counters}");
        assert!(counters["repairs"].as_u64() > Some(0));
        // What the vandal left behind is repaired, and then it is quiet.
        rig.check(&mut guest(daemon));
        let before = daemon.counters().unwrap();
        rig.check(&mut guest(daemon));
        assert_eq!(daemon.counters().unwrap()["repairs"], before["repairs"]);
    }
}
