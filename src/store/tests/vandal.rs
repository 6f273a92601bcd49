//! While others write to the cache's files at random, readers get the truth.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use super::*;

/// Chunks of the image, their length, and the least reads and repairs after
/// which a reader stops.
const CHUNKS: usize = 4;
const LEN: usize = 3 * 4096 + 100;
const READS: usize = 300;
const REPAIRS: u64 = 5;

/// Numbers without pattern (a linear congruential generator, MMIX's numbers).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Alters, cuts and contradicts the cache until told to stop.
fn vandalise(setup: &Setup, stop: &AtomicBool) {
    let open = |kind| {
        let mut options = OpenOptions::new();
        options.write(true).open(setup.file(kind)).unwrap()
    };
    let (data, map, mut dice) = (open("data"), open("map"), Dice(1));
    let size = setup.image.blob.uncompressed_size;
    while !stop.load(SeqCst) {
        let at = u64::try_from(dice.below(CHUNKS * LEN)).unwrap();
        match dice.below(16) {
            0 => data.set_len(at).unwrap(),
            1 => data.set_len(size).unwrap(),
            2 => map.set_len(at % 4).unwrap(),
            3..6 => map.write_all_at(&[u8::from(at % 2 == 0)], at % 4).unwrap(),
            _ => data.write_all_at(&[at.to_le_bytes()[0]], at).unwrap(),
        }
        std::thread::yield_now();
    }
}

/// Reads at random through one store; returns the reads served hot.
async fn reader(setup: &Setup, store: &Arc<Store>, seed: u64) -> usize {
    let (mut dice, mut served) = (Dice(seed), 0);
    let mut reads = 0;
    while reads < READS || store.counters().snapshot().repairs < REPAIRS {
        reads += 1;
        let index = dice.below(CHUNKS);
        let (chunk, truth) = (setup.image.chunks[index], &setup.image.plain[index]);
        let (mut from, mut len) = (dice.below(LEN), 1 + dice.below(LEN));
        if dice.below(2) == 0 {
            // Whole blocks, which are checked in place.
            (from, len) = (from - from % 4096, LEN);
        }
        let mut buffer = vec![0; len.min(LEN - from)];
        if hot(store, &chunk, u32::try_from(from).unwrap(), &mut buffer) {
            served += 1;
            assert!(buffer == truth[from..from + buffer.len()]);
        } else {
            assert!(store.read(chunk).await.unwrap() == truth);
        }
        tokio::task::yield_now().await;
    }
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_others_do_to_the_cache_readers_get_the_truth() {
    let setup = Setup::new(usual(CHUNKS, LEN));
    for index in 0..CHUNKS {
        setup.expect(index).await;
    }
    let setup = Arc::new(setup);
    let other = setup.again(Verify::Always);
    let stop = Arc::new(AtomicBool::new(false));
    let vandal = {
        let (setup, stop) = (Arc::clone(&setup), Arc::clone(&stop));
        std::thread::spawn(move || vandalise(&setup, &stop))
    };
    let mut readers = Vec::new();
    for seed in 0..4 {
        let setup = Arc::clone(&setup);
        let store = Arc::clone(if seed % 2 == 0 { &setup.store } else { &other });
        readers.push(tokio::spawn(
            async move { reader(&setup, &store, seed).await },
        ));
    }
    let mut ended = Vec::new();
    for reader in readers {
        ended.push(reader.await);
    }
    // Whatever the readers say, the vandal is not left running.
    stop.store(true, SeqCst);
    vandal.join().unwrap();
    let served: usize = ended.into_iter().map(Result::unwrap).sum();
    assert!(served > 0, "the hit path was never tried");
    // When the vandal is gone all is well again.
    settled(&other).await;
    for index in 0..CHUNKS {
        setup.expect(index).await;
        assert!(setup.hot(index));
    }
}
