//! The limit of the cache, its eviction, and disks that are full.

use std::os::unix::fs::MetadataExt as _;

use super::*;

/// Bytes that the cache takes on the disk.
fn taken(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("tidegate/v1")).unwrap();
    let sizes = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.blocks() * 512));
    sizes.sum()
}

fn limited(image: Image, limit: u64) -> Setup {
    let source = Source::new(&image);
    Setup::with(image, source, |config| config.cache_limit = Some(limit))
}

#[tokio::test]
async fn the_limit_holds_and_every_read_is_right() {
    const CHUNK: usize = 64 << 10;
    let limit = 1 << 20;
    let setup = limited(usual(60, CHUNK), limit);
    for round in 0..3 {
        for index in (0..60).map(|n| n * 7 % 60) {
            setup.expect(index).await;
            let taken = taken(setup.dir.path());
            assert!(taken <= limit, "{taken} bytes in round {round}");
        }
    }
    let taken = taken(setup.dir.path());
    assert!(taken > limit / 2, "the limit is used: {taken}");
    let count = setup.count();
    assert_eq!(count.proof_failures_cache, 0, "evicted is not damaged");
    assert_eq!((count.repairs, count.cache_write_errors), (0, 0));
}

#[tokio::test]
async fn what_is_used_again_and_again_stays() {
    const CHUNK: usize = 64 << 10;
    let setup = limited(usual(100, CHUNK), 2 << 20);
    setup.expect(0).await;
    assert!(setup.hot(0));
    for index in 1..100 {
        setup.expect(index).await;
        assert!(setup.hot(0), "evicted when chunk {index} came");
    }
    assert_eq!(setup.source.reads(), 100);
}

#[tokio::test]
async fn an_eviction_by_another_store_is_a_miss_and_no_damage() {
    const CHUNK: usize = 64 << 10;
    let setup = limited(usual(40, CHUNK), 1 << 20);
    for index in 0..8 {
        setup.expect(index).await;
    }
    let config = StoreConfig {
        cache: Some(setup.dir.path().into()),
        cache_limit: Some(1 << 20),
        ..StoreConfig::default()
    };
    let other = Store::open(config, setup.source.clone(), vec![setup.image.blob.clone()]);
    let other = other.unwrap();
    for chunk in &setup.image.chunks[8..] {
        other.read(*chunk).await.unwrap();
    }
    settled(&other).await;
    let before = setup.source.reads();
    for index in 0..8 {
        setup.hot(index);
        setup.expect(index).await;
    }
    assert!(setup.source.reads() > before, "something was evicted");
    let count = setup.count();
    assert_eq!((count.proof_failures_cache, count.repairs), (0, 0));
}

#[tokio::test]
async fn pinned_chunks_are_never_evicted() {
    const CHUNK: usize = 64 << 10;
    let setup = limited(usual(60, CHUNK), 1 << 20);
    for index in 0..4 {
        setup.expect(index).await;
    }
    let file = setup.store.cache_file(&setup.image.chunks[0]).unwrap();
    let pins: Vec<_> = (0..4).map(|index| file.pin(index).unwrap()).collect();
    let twice = file.pin(1).unwrap();
    drop(twice);
    for index in 4..60 {
        setup.expect(index).await;
    }
    let mapped = || std::fs::read(setup.file("map")).unwrap()[..4].to_vec();
    assert_eq!(mapped(), [1; 4]);
    assert!((0..4).all(|index| setup.hot(index)));
    drop(pins);
    for _ in 0..8 {
        for index in 4..60 {
            setup.expect(index).await;
        }
    }
    assert_ne!(mapped(), [1; 4], "without pins they go like others");
}

#[tokio::test]
async fn a_store_that_believes_the_cache_loses_nothing_to_others() {
    const CHUNK: usize = 64 << 10;
    let setup = limited(usual(40, CHUNK), 1 << 20);
    let believer = setup.again(Verify::Fetch);
    for chunk in &setup.image.chunks[..8] {
        believer.read(*chunk).await.unwrap();
    }
    settled(&believer).await;
    for index in 8..40 {
        setup.expect(index).await;
    }
    for index in 0..8 {
        let mut buffer = vec![0; CHUNK];
        assert!(hot(&believer, &setup.image.chunks[index], 0, &mut buffer));
        assert!(buffer == setup.image.plain[index]);
    }
}

#[tokio::test]
async fn a_limit_smaller_than_a_chunk_means_memory() {
    let setup = limited(usual(4, 64 << 10), 64 << 10);
    for _ in 0..3 {
        for index in 0..4 {
            setup.expect(index).await;
        }
    }
    assert_eq!(setup.source.reads(), 4);
    assert_eq!(setup.count().cache_write_errors, 0);
}

#[tokio::test]
async fn a_limit_that_was_lowered_is_kept_at_the_next_write() {
    let setup = limited(usual(60, 64 << 10), 4 << 20);
    for index in 0..50 {
        setup.expect(index).await;
    }
    assert!(taken(setup.dir.path()) > 3 << 20);
    let config = StoreConfig {
        cache: Some(setup.dir.path().into()),
        cache_limit: Some(1 << 20),
        ..StoreConfig::default()
    };
    let other = Store::open(config, setup.source.clone(), vec![setup.image.blob.clone()]);
    let other = other.unwrap();
    other.read(setup.image.chunks[55]).await.unwrap();
    settled(&other).await;
    assert!(taken(setup.dir.path()) <= 1 << 20);
}

#[tokio::test]
async fn a_cache_that_works_again_is_used_again_without_a_restart() {
    let image = usual(3, 20_000);
    let source = Source::new(&image);
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("place");
    std::fs::write(&place, b"a file, not a directory").unwrap();
    let setup = Setup::with(image, source, |config| {
        config.cache = Some(place.clone());
        config.cache_retry = Duration::from_millis(1);
    });
    setup.expect(0).await;
    assert!(!setup.hot(0));
    std::fs::remove_file(&place).unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    setup.expect(1).await;
    assert!(setup.hot(1));
    assert!(cache_file(&place, &setup.image.blob, "data").is_file());
    assert_eq!(setup.source.reads(), 2);
    assert!(setup.count().cache_write_errors > 0);
}
