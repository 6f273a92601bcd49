//! What a daemon is put to.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::{Answer, BOTH, Client, ask};
use crate::guest::Guest;
use crate::samples::Samples;
use crate::support::daemon::connect;
use crate::support::dice::Dice;
use crate::verdict::Verdict;
use crate::world::World;

/// A load with its seed, whose samples are kept in a directory.
pub(crate) struct Load {
    dir: PathBuf,
    seed: u64,
}

fn assert_done(answer: &Answer) {
    assert_eq!(answer.status, 204, "{answer:?}");
}

impl Load {
    pub(crate) fn new(dir: &Path, seed: u64) -> Self {
        let dir = dir.to_owned();
        Self { dir, seed }
    }

    fn dice(&self, of: u64) -> Dice {
        Dice(self.seed.wrapping_mul(1_000_003).wrapping_add(of))
    }

    /// Mounts and unmounts through the API, `count` times, and reads from each mount
    /// through one connection that stays.
    pub(crate) fn cycles(&self, count: u64) -> Verdict {
        let world = World::new();
        let (api, body) = (world.api(), world.body());
        let mut dice = self.dice(0);
        let mut guest = Guest::connect(world.daemon.socket(), &mut dice);
        let mut samples = Samples::new(world.daemon.pid(), &self.dir.join("cycles.jsonl"));
        let every = (count / 300).max(1);
        for number in 0..count {
            let at = format!("/rafs/{}/lowerdir", number % 97);
            let client = BOTH[dice.below(2)];
            assert_done(&client.mount(&api, &at, &body));
            guest
                .read(&format!("{at}/f{}", dice.below(4)), &mut dice)
                .unwrap();
            if number.is_multiple_of(3) {
                assert_done(&client.remount(&api, &at, &body));
                guest.read(&format!("{at}/f0"), &mut dice).unwrap();
            }
            assert_done(&client.unmount(&api, &at));
            if number % every == 0 {
                samples.take(number);
            }
        }
        samples.take(count);
        Verdict::of(&samples.all)
    }

    /// A guest that reads, writes and reconnects, somebody who mounts, remounts and
    /// unmounts, and clients that ask for everything.
    pub(crate) fn mixed(&self, time: Duration, every: Duration) -> Verdict {
        let world = World::new();
        let mut samples = Samples::new(world.daemon.pid(), &self.dir.join("mixed.jsonl"));
        let (stop, done) = (&AtomicBool::new(false), &AtomicU64::new(0));
        let world = &world;
        thread::scope(|scope| {
            let mut workers = Vec::new();
            workers.push(scope.spawn(|| {
                let _stops = Stops(stop);
                guest(world, &mut self.dice(1), stop, done);
            }));
            workers.push(scope.spawn(|| {
                let _stops = Stops(stop);
                mounter(world, &mut self.dice(2), stop);
            }));
            workers.push(scope.spawn(|| {
                let _stops = Stops(stop);
                clients(world, &mut self.dice(3), stop);
            }));
            let end = Instant::now() + time;
            while Instant::now() < end && !stop.load(Relaxed) {
                thread::sleep(every);
                samples.take(done.load(Relaxed));
            }
            stop.store(true, Relaxed);
            for worker in workers {
                worker.join().unwrap();
            }
        });
        samples.take(done.load(Relaxed));
        Verdict::of(&samples.all)
    }
}

/// Stops the others when a worker ends, also by a panic.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn guest(world: &World, dice: &mut Dice, stop: &AtomicBool, done: &AtomicU64) {
    while !stop.load(Relaxed) {
        let mut guest = Guest::connect(world.daemon.socket(), dice);
        let end = Instant::now() + Duration::from_millis(500 + dice.below(4500) as u64);
        while Instant::now() < end && !stop.load(Relaxed) {
            guest.act(dice);
            done.fetch_add(1, Relaxed);
        }
    }
}

/// Keeps some of 20 places mounted.
fn mounter(world: &World, dice: &mut Dice, stop: &AtomicBool) {
    let (api, bodies) = (world.api(), [world.body(), world.old()]);
    let mut mounted = [false; 20];
    while !stop.load(Relaxed) {
        let place = dice.below(mounted.len());
        let at = format!("/rafs/{place}/lowerdir");
        let client = BOTH[dice.below(2)];
        // The guest reads the places below 20 as the image; RAFS v5 goes elsewhere.
        let (at, body) = match place {
            15.. => (format!("/other/{place}"), &bodies[1]),
            _ => (at, &bodies[0]),
        };
        match (mounted[place], dice.below(3)) {
            (true, 0) => assert_done(&client.remount(&api, &at, body)),
            (is, _) => {
                let answer = if is {
                    client.unmount(&api, &at)
                } else {
                    client.mount(&api, &at, body)
                };
                assert_done(&answer);
                mounted[place] = !is;
            }
        }
        thread::sleep(Duration::from_millis(dice.below(20) as u64));
    }
}

/// Asks for everything, and leaves connections open.
fn clients(world: &World, dice: &mut Dice, stop: &AtomicBool) {
    let api = world.api();
    let mut idle: Vec<UnixStream> = Vec::new();
    let paths = [
        "/api/v1/daemon",
        "/api/v2/daemon",
        "/api/v1/daemon/events",
        "/api/v1/metrics?id=/stays",
        "/api/v1/metrics/blobcache?id=/stays",
        "/api/v1/tidegate/info",
        "/metrics",
    ];
    while !stop.load(Relaxed) {
        let answer = ask(&api, "GET", paths[dice.below(paths.len())], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        let ready = BOTH[dice.below(2)].daemon(&api);
        assert_eq!(ready.json()["state"], "RUNNING");
        assert_eq!(Client::Go.mount(&api, "/wrong", "{").status, 400);
        if idle.len() < 20 {
            idle.push(connect(&api).unwrap());
        } else {
            idle.swap_remove(dice.below(20));
        }
        thread::sleep(Duration::from_millis(dice.below(50) as u64));
    }
}
