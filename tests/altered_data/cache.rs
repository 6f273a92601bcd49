//! One daemon, or one after the other.

use std::fs;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::rig::{Rig, guest};

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn altered_cache_is_refetched_and_reported() {
    let rig = Rig::new();
    let mut daemon = rig.serve(&[]);
    let mut guest = guest(&daemon);
    rig.check(&mut guest);
    rig.check(&mut guest);
    let warm = daemon.counters().unwrap();
    rig.check(&mut guest);
    let before = daemon.counters().unwrap();
    assert_eq!(before["fetched_chunks"], rig.count());
    assert_eq!(before["misses"], warm["misses"], "the last reads were hits");
    assert_eq!(before["proof_failures_cache"], 0);

    for (chunk, _) in &rig.chunks {
        rig.alter_cached(chunk);
    }
    rig.check(&mut guest);
    rig.check(&mut guest);
    let after = daemon.counters().unwrap();
    assert_eq!(after["proof_failures_cache"], rig.count());
    assert_eq!(after["repairs"], rig.count());
    assert_eq!(after["fetched_chunks"], 2 * rig.count());
    assert!(daemon.complaints().contains("damaged copy"));

    drop(guest);
    daemon.terminate(PATIENCE).unwrap();
    let last = daemon.last_counters().unwrap();
    assert_eq!(last["repairs"], rig.count(), "also said at the end");
}

/// What the tests around this one would see if nothing were proved.
#[test]
fn unverified_cache_is_believed_when_that_is_asked_for() {
    let rig = Rig::new();
    let daemon = rig.serve(&["--verify", "fetch"]);
    let mut guest = guest(&daemon);
    rig.check(&mut guest);
    rig.alter_cached(&rig.chunks[0].0);
    let check = AssertUnwindSafe(|| rig.check(&mut guest));
    assert!(catch_unwind(check).is_err(), "the right bytes, from where?");
    assert_eq!(daemon.counters().unwrap()["repairs"], 0);
}

#[test]
fn one_altered_bit_of_a_hot_block_is_noticed_wherever_it_is() {
    let rig = Rig::new();
    let daemon = rig.serve(&[]);
    let mut guest = guest(&daemon);
    rig.check(&mut guest);
    let (chunk, _) = rig.chunks.iter().find(|(c, _)| c.len == 4097).unwrap();
    let data = rig.cache_file("data");
    let mut alterations = 0;
    for place in (0..u64::from(chunk.len)).step_by(61).chain([4095, 4096]) {
        let mut byte = [0];
        let at = chunk.offset + place;
        data.read_exact_at(&mut byte, at).unwrap();
        data.write_all_at(&[byte[0] ^ 1], at).unwrap();
        alterations += 1;
        rig.check(&mut guest);
    }
    assert_eq!(daemon.counters().unwrap()["repairs"], alterations);
}

#[test]
fn chunk_that_is_nowhere_right_is_an_error_and_the_others_are_served() {
    let rig = Rig::new();
    let daemon = rig.serve(&["--deadline", "5"]);
    let mut guest = guest(&daemon);
    rig.check(&mut guest);
    // The last chunk of the largest file.
    let (chunk, name) = rig.chunks.iter().max_by_key(|(c, _)| c.offset).unwrap();
    rig.alter_cached(chunk);
    rig.alter_source(chunk);
    let start = Instant::now();
    rig.check_all_but(&mut guest, &[name]);
    assert!(start.elapsed() < Duration::from_secs(5));
    let counters = daemon.counters().unwrap();
    assert_eq!(counters["proof_failures_cache"], 1);
    assert!(counters["proof_failures_source"].as_u64() > Some(0));
    assert_eq!(counters["repairs"], 0);
    assert!(daemon.complaints().contains(&chunk.digest.to_string()));
    // Restored at the source, it is served without a restart.
    rig.alter_source(chunk);
    rig.check(&mut guest);
}

#[test]
fn second_daemon_proves_from_the_cache_and_fetches_nothing() {
    let rig = Rig::new();
    let mut first = rig.serve(&[]);
    rig.check(&mut guest(&first));
    first.terminate(PATIENCE).unwrap();
    let second = rig.serve(&[]);
    rig.check(&mut guest(&second));
    let counters = second.counters().unwrap();
    assert_eq!(counters["cache_proofs"], rig.count());
    assert_eq!(counters["fetched_chunks"], 0);
}

#[test]
fn cache_altered_between_two_daemons_is_refetched_and_reported() {
    let rig = Rig::new();
    let mut first = rig.serve(&[]);
    rig.check(&mut guest(&first));
    first.terminate(PATIENCE).unwrap();
    for (chunk, _) in &rig.chunks {
        rig.alter_cached(chunk);
    }
    let second = rig.serve(&[]);
    rig.check(&mut guest(&second));
    let counters = second.counters().unwrap();
    assert_eq!(counters["proof_failures_cache"], rig.count());
    assert_eq!(counters["repairs"], rig.count());
}

#[test]
fn map_that_claims_chunks_in_a_file_of_holes_costs_fetches_only() {
    let rig = Rig::new();
    let mut first = rig.serve(&[]);
    rig.check(&mut guest(&first));
    first.terminate(PATIENCE).unwrap();
    let data = rig.cache_file("data");
    let len = data.metadata().unwrap().len();
    data.set_len(0).unwrap();
    data.set_len(len).unwrap();
    let all = vec![1; rig.chunks.len()];
    let map = fs::read(rig.cache_path("map")).unwrap();
    assert_eq!(map[..all.len()], all);
    let second = rig.serve(&[]);
    rig.check(&mut guest(&second));
    let counters = second.counters().unwrap();
    assert_eq!(counters["proof_failures_cache"], rig.count());
    assert_eq!(counters["repairs"], rig.count());
}

#[test]
fn map_of_any_content_changes_no_byte() {
    let rig = Rig::new();
    let mut first = rig.serve(&[]);
    rig.check(&mut guest(&first));
    first.terminate(PATIENCE).unwrap();
    let maps = [
        vec![],
        vec![1; 3],
        vec![0xff; 4096],
        vec![0; 13],
        vec![1; 13],
    ];
    for map in maps {
        // In place, since a running daemon keeps the file open.
        let daemon = rig.serve(&[]);
        let mut guest = guest(&daemon);
        let file = rig.cache_file("map");
        file.set_len(0).unwrap();
        file.write_all_at(&map, 0).unwrap();
        rig.check(&mut guest);
        file.set_len(0).unwrap();
        file.write_all_at(&map, 0).unwrap();
        rig.check(&mut guest);
        let known = map.iter().take(13).filter(|byte| **byte == 1).count();
        let counters = daemon.counters().unwrap();
        assert_eq!(counters["fetched_chunks"], 13 - known, "{map:?}");
        // A chunk that is asked for while it is written down is proved once more.
        let proofs = counters["cache_proofs"].as_u64().unwrap();
        assert!(proofs >= known as u64, "{proofs} {map:?}");
    }
}

#[test]
fn data_truncated_while_it_is_hot_is_refetched() {
    let rig = Rig::new();
    let daemon = rig.serve(&[]);
    let mut guest = guest(&daemon);
    rig.check(&mut guest);
    let data = rig.cache_file("data");
    let whole = data.metadata().unwrap().len();
    for len in [whole - 1, whole / 2, 4096, 1, 0] {
        data.set_len(len).unwrap();
        rig.check(&mut guest);
        // The end of the last chunk is in the file's last block.
        assert!(data.metadata().unwrap().len() > whole - 4096);
    }
    let counters = daemon.counters().unwrap();
    assert!(counters["repairs"].as_u64() > Some(2 * rig.count()));
    assert_eq!(counters["repairs"], counters["proof_failures_cache"]);
}

#[test]
fn cache_files_deleted_or_replaced_while_they_are_hot_change_no_byte() {
    let rig = Rig::new();
    let daemon = rig.serve(&[]);
    let mut guest = guest(&daemon);
    rig.check(&mut guest);
    for kind in ["data", "map"] {
        let path = rig.cache_path(kind);
        fs::remove_file(&path).unwrap();
        fs::write(&path, [1; 4096]).unwrap();
    }
    rig.check(&mut guest);
    let another = rig.serve(&[]);
    rig.check(&mut crate::rig::guest(&another));
    rig.check(&mut guest);
}
