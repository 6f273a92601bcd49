//! The limit holds while many read, and nobody reads a wrong byte for it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use crate::rig::{CHUNK, Dice, Rig, count, guest};

const READERS: u64 = 8;

/// Reads of whole files by each reader.
const READS: usize = 120;

/// Bytes that a directory takes on the disk.
fn taken(dir: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(dir) else {
        return 0;
    };
    let sizes = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.blocks() * 512));
    sizes.sum()
}

#[test]
fn eight_readers_on_a_cache_of_a_third_of_the_image_never_exceed_it() {
    let rig = Rig::new(&(0..64).collect::<Vec<_>>());
    let limit = rig.size() * 3 / 10;
    let text = limit.to_string();
    let daemons: Vec<_> = (0..READERS)
        .map(|_| rig.serve(&["--cache-limit", &text]))
        .collect();
    let (done, most) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                most.fetch_max(taken(&rig.dir()), SeqCst);
            }
        });
        let readers: Vec<_> = (0..READERS)
            .zip(&daemons)
            .map(|(seed, daemon)| {
                let rig = &rig;
                scope.spawn(move || {
                    let (mut guest, mut dice) = (guest(daemon), Dice(seed));
                    for _ in 0..READS {
                        // Some files are read more often than others.
                        let hot = dice.below(2) == 0;
                        let file = dice.place(if hot { 8 } else { rig.files() });
                        assert!(rig.check(&mut guest, file, &AtomicBool::new(false)));
                    }
                })
            })
            .collect();
        let ends: Vec<_> = readers
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        done.store(true, SeqCst);
        ends.into_iter().for_each(|end| end.unwrap());
    });
    let most = most.load(SeqCst);
    println!("limit {limit}, most {most}");
    assert!(most <= limit + READERS * CHUNK as u64, "{most} of {limit}");
    assert!(most > limit / 2, "the limit was used");
    let sum = |name| {
        daemons
            .iter()
            .map(|daemon| count(daemon, name))
            .sum::<u64>()
    };
    for counter in ["hits", "fetched_chunks", "misses"] {
        println!("{counter} {}", sum(counter));
    }
    assert!(sum("fetched_chunks") > 64 * 4, "something was evicted");
    for counter in ["proof_failures_cache", "repairs", "cache_write_errors"] {
        assert_eq!(sum(counter), 0, "{counter}: evicted is not damaged");
    }
}
