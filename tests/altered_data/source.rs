//! A source that is wrong, cut short or gone.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::rig::{Rig, guest, open};

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn altered_blob_gives_errors_and_never_its_bytes() {
    let rig = Rig::new();
    let daemon = rig.serve(&[]);
    let mut guest = guest(&daemon);
    for (chunk, _) in &rig.chunks {
        rig.alter_source(chunk);
    }
    let all: BTreeSet<&str> = rig.chunks.iter().map(|(_, name)| name.as_str()).collect();
    let all: Vec<&str> = all.into_iter().collect();
    rig.check_all_but(&mut guest, &all);
    let counters = daemon.counters().unwrap();
    assert!(counters["proof_failures_source"].as_u64() >= Some(rig.count()));
    assert_eq!(counters["hits"], 0);
    for (chunk, _) in &rig.chunks {
        rig.alter_source(chunk);
    }
    rig.check(&mut guest);
}

#[test]
fn blob_cut_short_gives_errors_for_what_it_lacks_and_the_rest() {
    let rig = Rig::new();
    let daemon = rig.serve(&[]);
    let mut guest = guest(&daemon);
    let blob = rig.blob_path();
    let whole = fs::read(&blob).unwrap();
    let left = whole.len() as u64 / 2;
    open(&blob).set_len(left).unwrap();
    let lacks =
        |chunk: &tidegate::chunk::Chunk| chunk.stored_offset + u64::from(chunk.stored_len) > left;
    let broken = rig.chunks.iter().filter(|(chunk, _)| lacks(chunk));
    let broken: BTreeSet<&str> = broken.map(|(_, name)| name.as_str()).collect();
    let broken: Vec<&str> = broken.into_iter().collect();
    assert!((1..7).contains(&broken.len()), "{broken:?}");
    rig.check_all_but(&mut guest, &broken);
    assert!(daemon.complaints().contains("ends early"));
    fs::write(&blob, whole).unwrap();
    rig.check(&mut guest);
}

/// Promise 5.
#[test]
fn complete_cache_serves_on_without_its_source() {
    let rig = Rig::new();
    let mut first = rig.serve(&[]);
    let mut there = guest(&first);
    rig.check(&mut there);
    fs::remove_file(rig.blob_path()).unwrap();
    rig.check(&mut there);
    drop(there);
    first.terminate(PATIENCE).unwrap();
    let second = rig.serve(&[]);
    let mut there = guest(&second);
    rig.check(&mut there);
    rig.check(&mut there);
    assert_eq!(second.counters().unwrap()["fetched_chunks"], 0);
}
