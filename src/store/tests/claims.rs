//! Claims: one at a time may fetch a chunk, among all who share the cache.

use super::*;
use crate::store::cache_file::CacheFile;
use crate::store::host::HostCache;

/// The cache files of one blob, as two processes would have them.
fn two(dir: &Path) -> [Arc<CacheFile>; 2] {
    let config = StoreConfig {
        cache: Some(dir.into()),
        ..StoreConfig::default()
    };
    let blob = usual(8, 4096).blob;
    [(); 2].map(|()| HostCache::new(&config).blob(&blob).unwrap())
}

#[test]
fn a_claimed_chunk_is_refused_to_everybody_else_until_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = two(dir.path());
    let claim = one.claim(3).unwrap();
    assert!(one.claim(3).is_none(), "the same store");
    assert!(two.claim(3).is_none(), "another store");
    let neighbours = [one.claim(4), two.claim(2)];
    assert!(neighbours.iter().all(Option::is_some));
    drop(claim);
    let claim = two.claim(3).unwrap();
    assert!(one.claim(3).is_none());
    drop(claim);
    assert!(one.claim(3).is_some());
}

#[test]
fn a_claim_lives_as_long_as_its_holder() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = two(dir.path());
    let claim = one.claim(0).unwrap();
    drop(one);
    assert!(two.claim(0).is_none(), "the claim keeps its file");
    drop(claim);
    assert!(two.claim(0).is_some());
}

#[test]
fn of_many_threads_one_has_the_claim() {
    let dir = tempfile::tempdir().unwrap();
    let files = two(dir.path());
    let held = AtomicUsize::new(0);
    let granted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (file, held, granted) = (&files[thread % 2], &held, &granted);
            scope.spawn(move || {
                for _ in 0..500 {
                    let Some(claim) = file.claim(5) else { continue };
                    assert_eq!(held.fetch_add(1, SeqCst), 0, "two have it");
                    granted.fetch_add(1, SeqCst);
                    held.fetch_sub(1, SeqCst);
                    drop(claim);
                }
            });
        }
    });
    assert!(granted.load(SeqCst) > 0);
}

#[test]
fn without_a_directory_every_chunk_can_be_claimed() {
    let file = HostCache::new(&StoreConfig::default());
    let file = file.blob(&usual(8, 4096).blob).unwrap();
    assert!((0..8).all(|index| file.claim(index).is_some()));
}

#[test]
fn a_run_of_the_map_is_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = two(dir.path());
    for index in [1, 2, 5] {
        one.remember(index);
    }
    let seen = [false, true, true, false, false, true, false, false];
    assert_eq!(two.resident_run(0, 8), seen);
    assert_eq!(two.resident_run(5, 9), [true, false, false]);
    assert!(two.resident_run(8, 9).is_empty());
}

#[test]
fn a_chunk_that_another_store_gave_up_is_known_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = two(dir.path());
    one.remember(1);
    assert!(!one.was_evicted(1));
    two.forget(1);
    assert!(one.is_known(1));
    assert!(one.was_evicted(1));
    assert!(!one.is_known(1));
}
