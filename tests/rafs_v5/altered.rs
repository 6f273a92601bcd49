//! Altered blobs and caches: right bytes, or an error.

use std::collections::BTreeMap;
use std::fs;

use tidegate::chunk::Chunk;
use tidegate::fs::walk::{self, Step};
use tidegate::image::{Content, Image};

use crate::images;
use crate::nydus::altered::{flip, open};
use crate::nydus::read;
use crate::rig::Fixture;
use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::session::wire::{Body, op};

/// Path and content of each regular file, and its chunks.
fn truth(fixture: &Fixture) -> BTreeMap<Vec<u8>, (Vec<u8>, Vec<Chunk>)> {
    let image = fixture.open();
    let store = fixture.store(&image);
    let mut truth = BTreeMap::new();
    walk::walk(&image, &mut |step| {
        let Step::Node(path, node) = step else {
            panic!("the image is damaged");
        };
        if let Content::File(_) = node.content {
            let chunks = images::see(&image, node).unwrap().chunks;
            truth.insert(path.to_vec(), (read(&image, &store, path).unwrap(), chunks));
        }
        true
    });
    truth
}

/// Whether byte `at` of the blob belongs to a chunk.
fn is_of(chunk: &Chunk, at: u64) -> bool {
    (chunk.stored_offset..chunk.stored_offset + u64::from(chunk.stored_len)).contains(&at)
}

#[test]
fn any_flipped_byte_of_a_blob_is_an_error_of_its_chunk_only() {
    for name in ["lz4", "zstd"] {
        let fixture = Fixture::copy(name);
        let truth = truth(&fixture);
        let blob = open(&fixture.blob());
        let (mut errors, mut flips) = (0, 0);
        // Few, since each error is one only after the source was asked again.
        for at in (0..blob.metadata().unwrap().len()).step_by(997) {
            flip(&blob, at);
            flips += 1;
            let image: Image = fixture.open();
            let store = fixture.store(&image);
            for (path, (right, chunks)) in &truth {
                let hit = chunks.iter().any(|chunk| is_of(chunk, at));
                // Of the many others a few.
                if !hit && path.starts_with(b"many/") {
                    continue;
                }
                match read(&image, &store, path) {
                    Ok(found) => assert_eq!(&found, right, "{} at {at}", walk::show(path)),
                    Err(error) => {
                        assert!(hit, "{} at {at}: {error}", walk::show(path));
                        errors += 1;
                    }
                }
            }
            flip(&blob, at);
        }
        assert!(errors > flips / 2, "{errors} errors of {flips} flips");
    }
}

#[test]
fn flipped_bytes_of_the_cache_are_fetched_again() {
    let fixture = Fixture::copy("zstd");
    let truth = truth(&fixture);
    let (right, chunks) = &truth[&b"long"[..]];
    let cache = tempfile::tempdir().unwrap();
    let mut line = fixture.arguments();
    line.extend(["--cache".into(), cache.path().into()]);
    line.extend(["--record-trace", "off", "--replay-trace", "off"].map(Into::into));
    let daemon = Daemon::tidegate(&line).unwrap();
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let node = guest.resolve("long").unwrap();
    let mut check = |what: &str| {
        let mut found = Vec::new();
        while found.len() < right.len() {
            let body = Body::read(0, found.len() as u64, 65_536).0;
            found.extend(guest.raw(op::READ, node, &body, 65_536).unwrap());
        }
        assert!(&found == right, "{what}");
    };
    check("cold");
    check("warm");
    let dir = fs::read_dir(cache.path().join("tidegate/v1")).unwrap();
    let mut paths = dir.map(|entry| entry.unwrap().path());
    let data = paths.find(|path| path.extension().is_some_and(|it| it == "data"));
    let data = open(&data.unwrap());
    for (chunk, number) in chunks.iter().zip(0u64..).step_by(3) {
        let within = number * 331 % u64::from(chunk.len);
        flip(&data, chunk.offset + within);
        check(&format!("byte {within} of chunk {number}"));
    }
    let counters = daemon.counters().unwrap();
    let flips = chunks.len().div_ceil(3);
    assert_eq!(counters["repairs"], flips, "{counters}");
}
