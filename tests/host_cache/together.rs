//! Daemons that need the same chunks at the same time fetch each of them once.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::rig::{Rig, count, guest};

#[test]
fn fifty_daemons_that_start_together_cost_the_source_no_more_than_one() {
    const DAEMONS: usize = 50;
    let rig = Rig::new(&(0..16).collect::<Vec<_>>());
    let alone = rig.serve_on(tempfile::tempdir().unwrap().path(), &[]);
    rig.check_all(&mut guest(&alone), 0);
    let one = count(&alone, "fetched_bytes");
    let daemons: Vec<_> = (0..DAEMONS).map(|_| rig.serve(&[])).collect();
    let start = Barrier::new(DAEMONS);
    thread::scope(|scope| {
        for daemon in &daemons {
            let (rig, start) = (&rig, &start);
            scope.spawn(move || {
                let mut guest = guest(daemon);
                start.wait();
                rig.check_all(&mut guest, 0);
            });
        }
    });
    let all: u64 = daemons.iter().map(|it| count(it, "fetched_bytes")).sum();
    println!("one daemon {one} bytes, fifty {all}");
    assert!(all * 10 <= one * 11, "{all} bytes for {one}");
}

#[test]
fn what_a_daemon_was_killed_over_is_fetched_by_another() {
    let rig = Rig::new(&(0..16).collect::<Vec<_>>());
    for round in 0..5 {
        let victim = rig.serve(&[]);
        let survivor = rig.serve(&[]);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let (rig, victim, stop) = (&rig, &victim, &stop);
            let mut guest = guest(victim);
            let reader =
                scope.spawn(move || (0..rig.files()).all(|file| rig.check(&mut guest, file, stop)));
            thread::sleep(Duration::from_millis(round * 3));
            stop.store(true, SeqCst);
            victim.signal(Signal::SIGKILL).unwrap();
            reader.join().unwrap();
        });
        let start = Instant::now();
        rig.check_all(&mut guest(&survivor), 0);
        assert!(start.elapsed().as_secs() < 5, "nothing waits for the dead");
        drop((victim, survivor));
        std::fs::remove_dir_all(rig.dir()).unwrap();
    }
}
