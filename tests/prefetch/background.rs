//! Lists, and the whole image in the background.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use crate::rig::{CHUNK, CHUNKS, Rig, read_all, read_chunk};

/// What comes before the number of chunks in the log.
const COMPLETE: &str = "Image complete: 12 chunks, offline from now on";

#[test]
fn a_whole_image_is_read_offline_after_a_restart() {
    let rig = Rig::new();
    let daemon = rig.serve("cache", &["--prefetch", "all"]);
    daemon.await_log(COMPLETE);
    assert_eq!(daemon.counter("fetched_bytes"), (CHUNKS * CHUNK) as u64);
    assert_eq!(daemon.0.complaints().matches("Image complete").count(), 1);
    daemon.end();

    fs::rename(rig.image.blobs(), rig.path("gone")).unwrap();
    let daemon = rig.serve("cache", &[]);
    read_all(&mut daemon.guest());
    assert_eq!(daemon.counter("fetches"), 0);
    // It is as complete as before, and finds that out without a source.
    let again = rig.serve("cache", &["--prefetch", "all"]);
    again.await_log(COMPLETE);
    assert_eq!(again.counter("fetches"), 0);
    let log = daemon.end();
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn a_list_is_fetched_over_links_and_directories_and_nothing_else() {
    let rig = Rig::new();
    for (list, chunks) in [
        ("/a\n/nowhere\n/a\n", 3),
        ("/link\n/dir/b\n/z\n", 6),
        ("/dir/way\n", 5),
        ("/dir/", 7),
        ("/e\n/\n", CHUNKS),
    ] {
        let file = rig.file("list", list.as_bytes());
        let cache = format!("cache-{chunks}");
        let daemon = rig.serve(&cache, &["--prefetch-files", &file]);
        daemon.await_log(if chunks == CHUNKS {
            COMPLETE
        } else {
            "Prefetch ended"
        });
        assert_eq!(
            daemon.counter("fetched_bytes"),
            (chunks * CHUNK) as u64,
            "{list}"
        );
    }
}

#[test]
fn nothing_is_fetched_unless_it_is_asked_for() {
    let rig = Rig::new();
    let list = rig.file("list", b"/a\n");
    for arguments in [&[][..], &["--prefetch", "off", "--prefetch-files", &list]] {
        let daemon = rig.serve("cache", arguments);
        let mut guest = daemon.guest();
        guest.resolve("dir/deep/d").unwrap();
        assert_eq!(daemon.counter("fetches"), 0);
    }
}

#[test]
fn a_source_that_comes_back_is_asked_again() {
    let rig = Rig::new();
    fs::rename(rig.image.blobs(), rig.path("away")).unwrap();
    let daemon = rig.serve("cache", &["--prefetch", "all"]);
    daemon.await_log("Cannot fetch");
    fs::rename(rig.path("away"), rig.image.blobs()).unwrap();
    daemon.await_log(COMPLETE);
    assert_eq!(daemon.counter("fetched_bytes"), (CHUNKS * CHUNK) as u64);
}

#[test]
fn a_damaged_chunk_holds_up_no_other_and_completes_when_it_is_restored() {
    let rig = Rig::new();
    let blob = fs::read_dir(rig.image.blobs()).unwrap().next().unwrap();
    let blob = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(blob.unwrap().path())
        .unwrap();
    // Chunks of noise are stored as they are, one behind the other.
    let at = (4 * CHUNK + 100) as u64;
    let mut right = [0];
    blob.read_exact_at(&mut right, at).unwrap();
    blob.write_all_at(&[right[0] ^ 1], at).unwrap();
    let daemon = rig.serve("cache", &["--prefetch", "all"]);
    daemon.await_log("restore the blob");
    blob.write_all_at(&right, at).unwrap();
    daemon.await_log(COMPLETE);
    read_all(&mut daemon.guest());
}

#[test]
fn an_image_that_the_cache_cannot_hold_is_not_fetched_whole() {
    let rig = Rig::new();
    let list = rig.file("list", b"/e\n");
    let line = ["--prefetch", "all", "--prefetch-files", &list];
    let daemon = rig.serve("cache", &[&line[..], &["--cache-limit", "512KiB"]].concat());
    daemon.await_log("raise the limit of the cache");
    daemon.await_log("Prefetch ended: 2 chunks");
    assert_eq!(daemon.counter("fetched_bytes"), 2 * CHUNK as u64);
}

#[test]
fn the_bandwidth_holds_for_the_background_and_not_for_readers() {
    let rig = Rig::new();
    let start = Instant::now();
    // A second for 4 of the 12 chunks; the bucket holds one at first.
    let limit = format!("{}/s", 4 * CHUNK);
    let daemon = rig.serve(
        "cache",
        &["--prefetch", "all", "--prefetch-bandwidth", &limit],
    );
    read_chunk(&mut daemon.guest(), "e", 1);
    let read = start.elapsed();
    daemon.await_log(COMPLETE);
    let took = start.elapsed();
    assert!(took > Duration::from_millis(2000), "{took:?}");
    assert!(read < took / 2, "{read:?} of {took:?}");
}

#[test]
fn the_end_of_the_daemon_is_not_held_up() {
    let rig = Rig::new();
    let daemon = rig.serve(
        "cache",
        &["--prefetch", "all", "--prefetch-bandwidth", "1/s"],
    );
    let start = Instant::now();
    daemon.end();
    assert!(start.elapsed() < Duration::from_secs(1));
}
