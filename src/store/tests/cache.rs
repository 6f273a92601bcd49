//! The cache is never believed: whatever becomes of its files, readers get
//! the right bytes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn cut(setup: &Setup, kind: &str) {
    fs::write(setup.file(kind), b"").unwrap();
}

#[tokio::test]
async fn a_chunk_that_was_read_is_served_hot_and_fetched_once() {
    for compressor in [Compressor::None, Compressor::Lz4, Compressor::Zstd] {
        for algorithm in [DigestAlgorithm::Sha256, DigestAlgorithm::Blake3] {
            let lens = [1, 4095, 4096, 4097, 65_536, 70_001];
            let setup = Setup::new(image(&lens, compressor, algorithm));
            for index in 0..lens.len() {
                assert!(!setup.hot(index));
                setup.expect(index).await;
                assert!(setup.hot(index));
                setup.expect(index).await;
            }
            assert_eq!(setup.source.reads(), lens.len());
            let count = setup.count();
            let bytes = u64::try_from(lens.iter().sum::<usize>()).unwrap();
            assert_eq!((count.hits, count.hit_bytes), (6, bytes));
            let stored = u64::try_from(setup.image.stored.len()).unwrap();
            assert_eq!((count.fetches, count.fetched_bytes), (6, stored));
        }
    }
}

#[tokio::test]
async fn altered_cache_is_repaired_and_counted() {
    let setup = Setup::new(usual(2, 20_000));
    setup.expect(0).await;
    setup.expect(1).await;
    for offset in [0, 4096, 19_999] {
        alter(&setup, offset);
        assert!(!setup.hot(0), "an altered block must not be served");
        assert!(setup.hot(1), "the other chunk is whole");
        setup.expect(0).await;
        assert!(setup.hot(0));
    }
    let count = setup.count();
    assert_eq!((count.proof_failures_cache, count.repairs), (3, 3));
    assert_eq!((count.interference, setup.source.reads()), (0, 5));
}

#[tokio::test]
async fn altered_cache_of_an_earlier_process_is_repaired_and_counted() {
    let setup = Setup::new(usual(1, 20_000));
    setup.expect(0).await;
    alter(&setup, 12_345);
    let later = setup.again(Verify::Always);
    let got = later.read(setup.image.chunks[0]).await.unwrap();
    assert!(got == setup.image.plain[0]);
    settled(&later).await;
    let count = later.counters().snapshot();
    assert_eq!((count.proof_failures_cache, count.repairs), (1, 1));
    // The first process sees the repaired copy.
    assert!(setup.hot(0));
}

#[tokio::test]
async fn residency_over_a_hole_gives_right_bytes() {
    let setup = Setup::new(usual(3, 20_000));
    setup.expect(2).await;
    fs::write(setup.file("map"), [1, 1, 1]).unwrap();
    for index in 0..3 {
        setup.expect(index).await;
        assert!(setup.hot(index));
    }
    assert_eq!(setup.count().repairs, 2);
}

#[tokio::test]
async fn a_data_file_truncated_while_running_is_filled_again() {
    let setup = Setup::new(usual(2, 20_000));
    setup.expect(0).await;
    setup.expect(1).await;
    cut(&setup, "data");
    for index in [1, 0] {
        assert!(!setup.hot(index));
        setup.expect(index).await;
        assert!(setup.hot(index));
    }
    assert_eq!(setup.count().repairs, 2);
}

#[tokio::test]
async fn a_map_file_truncated_or_removed_while_running_changes_no_byte() {
    let setup = Setup::new(usual(2, 20_000));
    setup.expect(0).await;
    cut(&setup, "map");
    assert!(setup.hot(0));
    setup.expect(0).await;
    fs::remove_file(setup.file("map")).unwrap();
    fs::remove_file(setup.file("data")).unwrap();
    setup.expect(0).await;
    setup.expect(1).await;
    assert!(setup.hot(0) && setup.hot(1));
    assert_eq!(setup.source.reads(), 2);
}

#[tokio::test]
async fn two_stores_on_one_cache_share_chunks_and_prove_each_for_themselves() {
    let setup = Setup::new(usual(8, 20_000));
    let other = setup.again(Verify::Always);
    for (index, chunk) in setup.image.chunks.iter().enumerate() {
        let (first, second) = match index % 2 {
            0 => (&setup.store, &other),
            _ => (&other, &setup.store),
        };
        assert!(first.read(*chunk).await.unwrap() == setup.image.plain[index]);
        settled(first).await;
        assert!(
            !hot(second, chunk, 0, &mut [0; 4096]),
            "not proved there yet"
        );
        assert!(second.read(*chunk).await.unwrap() == setup.image.plain[index]);
        assert!(hot(second, chunk, 0, &mut [0; 4096]));
    }
    assert_eq!(setup.source.reads(), 8);
    assert_eq!(fs::read(setup.file("map")).unwrap()[..8], [1; 8]);
    let counts = [setup.count(), other.counters().snapshot()];
    assert_eq!(counts.map(|count| count.cache_proofs), [4, 4]);
}

#[tokio::test]
async fn another_layout_of_a_blob_gets_a_cache_of_its_own() {
    let setup = Setup::new(usual(1, 20_000));
    setup.expect(0).await;
    let mut blob = setup.image.blob.clone();
    blob.layout = Digest([8; 32]);
    let path = cache_file(setup.dir.path(), &blob, "data");
    let config = StoreConfig {
        cache: Some(setup.dir.path().into()),
        ..StoreConfig::default()
    };
    let liar = Store::open(config, setup.source.clone(), vec![blob]).unwrap();
    let got = liar.read(setup.image.chunks[0]).await.unwrap();
    assert!(got == setup.image.plain[0]);
    assert!(path.is_file());
    // What the other file has is copied and proved, and not fetched.
    assert_eq!(setup.source.reads(), 1);
    assert_eq!(liar.counters().snapshot().copied_chunks, 1);
}

#[tokio::test]
async fn cache_files_are_the_owners_alone() {
    let setup = Setup::new(usual(1, 4096));
    setup.expect(0).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&setup.dir.path().join("tidegate")), 0o700);
    assert_eq!(mode(&setup.dir.path().join("tidegate/v1")), 0o700);
    assert_eq!(mode(&setup.file("data")), 0o600);
    assert_eq!(mode(&setup.file("map")), 0o600);
}

#[tokio::test]
async fn without_a_cache_directory_chunks_are_kept_privately() {
    let image = usual(2, 20_000);
    let source = Source::new(&image);
    let setup = Setup::with(image, source, |config| config.cache = None);
    setup.expect(0).await;
    setup.expect(0).await;
    assert!(setup.hot(0));
    assert_eq!(setup.source.reads(), 1);
    assert_eq!(fs::read_dir(setup.dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_cache_that_cannot_be_made_is_replaced_by_memory() {
    let image = usual(2, 20_000);
    let source = Source::new(&image);
    let setup = Setup::with(image, source, |config| {
        config.cache = Some("/dev/null/no-directory".into());
    });
    for _ in 0..3 {
        setup.expect(0).await;
        setup.expect(1).await;
    }
    assert_eq!(setup.source.reads(), 2);
    assert!(setup.count().cache_write_errors > 0);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_replaced_by_memory() {
    // No file reaches to this offset, so the write fails as on a full disk.
    let far = (1 << 62) - 4096;
    let mut image = usual(2, 20_000);
    image.blob.uncompressed_size = 1 << 62;
    image.blob.uncompressed_size += 1 << 20;
    image.chunks[1].offset = far;
    let setup = Setup::new(image);
    for _ in 0..3 {
        setup.expect(0).await;
        setup.expect(1).await;
    }
    assert!(setup.hot(0) && !setup.hot(1));
    assert_eq!(setup.source.reads(), 2);
    assert_eq!(setup.count().cache_write_errors, 1);
    assert_eq!(fs::read(setup.file("map")).unwrap()[..2], [1, 0]);
}

#[tokio::test]
async fn a_link_in_the_place_of_a_cache_file_is_not_followed() {
    let setup = Setup::new(usual(2, 20_000));
    setup.expect(0).await;
    let elsewhere = setup.dir.path().join("elsewhere");
    fs::write(&elsewhere, b"mine").unwrap();
    fs::remove_file(setup.file("data")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, setup.file("data")).unwrap();
    let other = setup.again(Verify::Always);
    assert!(other.read(setup.image.chunks[1]).await.unwrap() == setup.image.plain[1]);
    assert_eq!(other.counters().snapshot().cache_write_errors, 1);
    assert_eq!(fs::read(&elsewhere).unwrap(), b"mine");
}

#[tokio::test]
async fn evicted_tags_mean_proving_again_and_not_fetching_again() {
    let image = usual(64, 20_000);
    let source = Source::new(&image);
    let budget = 4096;
    let setup = Setup::with(image, source, |config| config.tag_budget = budget);
    for index in 0..64 {
        setup.expect(index).await;
    }
    assert!(setup.store.tags.held() <= 4096);
    let hot = (0..64).filter(|&index| setup.hot(index)).count();
    assert!(hot < 64, "{hot} chunks fit into the budget of a few");
    for index in 0..64 {
        setup.expect(index).await;
    }
    assert_eq!(setup.source.reads(), 64);
    assert!(setup.count().cache_proofs >= 32);
}
