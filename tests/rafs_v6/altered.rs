//! Altered blobs and caches: right bytes, or an error.

use tidegate::fs::walk;
use tidegate::store::StoreConfig;

use crate::nydus::altered::{flip, open};
use crate::nydus::read;
use crate::rig::{Fixture, truth};

const PROVED: [&str; 5] = ["toc", "encrypted", "batch", "zran", "dict"];

/// Whatever byte of whatever section the first source alters, the second one
/// has the right ones.
#[test]
fn any_flipped_byte_of_a_source_is_repaired_from_the_next() {
    for name in PROVED {
        let (altered, good) = (Fixture::copy(name), Fixture::named(name));
        let truth = truth(&good);
        let mut noticed = 0;
        for path in altered.blob_files() {
            let blob = open(&path);
            for at in (0..blob.metadata().unwrap().len()).step_by(401) {
                flip(&blob, at);
                let (image, store) = altered.store(StoreConfig::default(), &[&good]);
                for (path, right) in &truth {
                    let found = read(&image, &store, path);
                    let place = || format!("{name}: {} at {at}", walk::show(path));
                    let seen = || found.as_ref().map(Vec::len);
                    assert!(found.as_ref() == Ok(right), "{}: {:?}", place(), seen());
                }
                noticed += u64::from(store.counters().snapshot().proof_failures_source > 0);
                flip(&blob, at);
            }
        }
        assert!(noticed > 20, "{name}: {noticed}");
    }
}

/// With one source there is nobody to ask: an error, and only for what is
/// stored there.
#[test]
fn any_flipped_byte_of_the_only_source_is_an_error_or_does_not_matter() {
    for name in PROVED {
        let altered = Fixture::copy(name);
        let truth = truth(&altered);
        let mut errors = 0;
        for path in altered.blob_files() {
            let blob = open(&path);
            let len = blob.metadata().unwrap().len();
            for at in (0..len).step_by(usize::try_from(len / 6 + 1).unwrap()) {
                flip(&blob, at);
                let (image, store) = altered.store(StoreConfig::default(), &[]);
                // Errors are some only after the source was asked again.
                let some = truth.iter().step_by(11);
                for (path, right) in some {
                    match read(&image, &store, path) {
                        Ok(found) => {
                            assert!(&found == right, "{name}: {} at {at}", walk::show(path))
                        }
                        Err(_) => {
                            errors += 1;
                            break;
                        }
                    }
                }
                flip(&blob, at);
            }
        }
        assert!(errors > 0, "{name}");
    }
}

#[test]
fn flipped_bytes_of_the_cache_are_fetched_again() {
    for name in ["encrypted", "batch", "zran"] {
        let fixture = Fixture::named(name);
        let truth = truth(&fixture);
        let cache = tempfile::tempdir().unwrap();
        let config = || StoreConfig {
            cache: Some(cache.path().to_owned()),
            ..StoreConfig::default()
        };
        let check = |what: &str| {
            let (image, store) = fixture.store(config(), &[]);
            for (path, right) in &truth {
                let found = read(&image, &store, path);
                assert_eq!(found.as_ref(), Ok(right), "{what} {}", walk::show(path));
            }
            store.counters().snapshot()
        };
        check("cold");
        let warm = check("warm");
        assert_eq!(warm.fetched_bytes, 0, "{name}: complete is offline");
        let dir = std::fs::read_dir(cache.path().join("tidegate/v1")).unwrap();
        let files: Vec<_> = dir.map(|entry| entry.unwrap().path()).collect();
        let ends = |ending: &str| {
            let found = files.iter();
            let mut found = found.filter(|file| file.extension().is_some_and(|it| it == ending));
            found.next()
        };
        assert_eq!(ends("meta").is_some(), name != "encrypted", "{name}");
        for ending in ["data", "map", "table", "meta"] {
            let Some(path) = ends(ending) else { continue };
            let file = open(path);
            let len = file.metadata().unwrap().len();
            for at in (0..len).step_by(usize::try_from(len / 9 + 1).unwrap()) {
                flip(&file, at);
                check(&format!("{name}: {ending} at {at}"));
            }
        }
        // The first byte of every slot of the layout.
        let data = open(ends("data").unwrap());
        let len = data.metadata().unwrap().len();
        (0..len).step_by(4096).for_each(|at| flip(&data, at));
        let repaired = check(&format!("{name}: each chunk"));
        assert!(repaired.repairs > 200, "{name}: {repaired:?}");
    }
}

#[test]
fn chunks_of_an_extent_come_together() {
    for name in ["batch", "zran"] {
        let fixture = Fixture::named(name);
        let (image, store) = fixture.store(StoreConfig::default(), &[]);
        for (path, right) in truth(&fixture) {
            assert_eq!(read(&image, &store, &path), Ok(right));
        }
        let counters = store.counters().snapshot();
        let fetches = counters.fetches;
        assert!(counters.fetched_chunks > 200, "{counters:?}");
        assert!(fetches < 100, "{name}: {counters:?}");
    }
}
