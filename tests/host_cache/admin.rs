//! `tidegate cache`, beside daemons that run.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::rig::{CHUNK, Rig, count, guest};

fn run(rig: &Rig, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("cache").args(arguments);
    command.arg("--cache").arg(rig.cache()).output().unwrap()
}

fn json(rig: &Rig, arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.push("--json");
    let output = run(rig, &all);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What `stat` says once so many chunks are kept: a reader is answered before
/// its chunk is written down.
fn stat_of(rig: &Rig, chunks: u64) -> Value {
    for _ in 0..1000 {
        let stat = json(rig, &["stat"]);
        if stat["chunks"] == chunks && stat["index_entries"] == chunks {
            return stat;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{} of {chunks} chunks", json(rig, &["stat"]));
}

fn file(rig: &Rig, ending: &str) -> PathBuf {
    let entries = fs::read_dir(rig.dir()).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let found = paths.find(|path| path.extension().is_some_and(|it| it == ending));
    found.unwrap()
}

#[test]
fn stat_tells_what_is_there_and_whose() {
    let rig = Rig::new(&[1, 2, 3]);
    fs::write(rig.cache().join("a.blob.data"), b"nydusd's").unwrap();
    let daemon = rig.serve(&[]);
    rig.check_all(&mut guest(&daemon), 0);
    let stat = stat_of(&rig, 12);
    assert_eq!(stat["blobs"][0]["resident"], 12);
    assert_eq!(stat["blobs"][0]["in_use"], true);
    assert_eq!(stat["index_entries"], 12);
    assert!(stat["bytes"].as_u64().unwrap() >= rig.size());
    assert_eq!(stat["foreign"].as_array().unwrap().len(), 1);
    drop(daemon);
    assert_eq!(json(&rig, &["stat"])["blobs"][0]["in_use"], false);
}

#[test]
fn verify_takes_bad_chunks_out_of_use_and_says_which() {
    let rig = Rig::new(&[1, 2, 3]);
    let daemon = rig.serve(&[]);
    let mut guest = guest(&daemon);
    rig.check_all(&mut guest, 0);
    stat_of(&rig, 12);
    assert_eq!(run(&rig, &["verify"]).status.code(), Some(0));
    let data = File::options()
        .write(true)
        .open(file(&rig, "data"))
        .unwrap();
    data.write_all_at(b"other", 5 * CHUNK as u64 + 77).unwrap();
    let bad = run(&rig, &["verify"]);
    assert_eq!(bad.status.code(), Some(1));
    let text = String::from_utf8(bad.stdout).unwrap();
    assert!(text.starts_with("chunk 5 of "), "{text}");
    let again = run(&rig, &["verify"]);
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(json(&rig, &["stat"])["chunks"], 11);
    // To the daemon it is a chunk that was evicted.
    rig.check_all(&mut guest, 0);
    assert_eq!(count(&daemon, "repairs"), 0);
    stat_of(&rig, 12);
}

#[test]
fn gc_frees_under_running_daemons_and_touches_nothing_of_others() {
    let rig = Rig::new(&(0..16).collect::<Vec<_>>());
    let foreign = rig.cache().join("a.blob.data");
    fs::write(&foreign, b"nydusd's").unwrap();
    let daemon = rig.serve(&[]);
    let mut guest = guest(&daemon);
    rig.check_all(&mut guest, 0);
    stat_of(&rig, 64);
    let limit = rig.size() / 2;
    let report = json(&rig, &["gc", "--limit", &limit.to_string()]);
    assert!(report["after"].as_u64().unwrap() <= limit, "{report}");
    assert!(report["before"].as_u64().unwrap() >= rig.size(), "{report}");
    let stat = json(&rig, &["stat"]);
    assert_eq!(stat["index_entries"], stat["chunks"]);
    rig.check_all(&mut guest, 0);
    assert_eq!(count(&daemon, "repairs"), 0);
    // In use, it stays; unused, it goes.
    assert_eq!(
        json(&rig, &["gc", "--unused-for", "0s"])["removed_blobs"],
        0
    );
    drop((guest, daemon));
    assert_eq!(
        json(&rig, &["gc", "--unused-for", "1h"])["removed_blobs"],
        0
    );
    assert_eq!(
        json(&rig, &["gc", "--unused-for", "0s"])["removed_blobs"],
        1
    );
    assert_eq!(json(&rig, &["stat"])["chunks"], 0);
    assert_eq!(fs::read(foreign).unwrap(), b"nydusd's");
}

#[test]
fn gc_frees_what_no_record_names_and_rebuilds_the_index() {
    let rig = Rig::new(&(0..8).collect::<Vec<_>>());
    let daemon = rig.serve(&[]);
    rig.check_all(&mut guest(&daemon), 0);
    stat_of(&rig, 32);
    drop(daemon);
    // Half of the records are lost, and the whole index.
    let table = File::options()
        .write(true)
        .open(file(&rig, "table"))
        .unwrap();
    table.write_all_at(&[0; 16 * 64], 0).unwrap();
    fs::remove_file(rig.dir().join("index")).unwrap();
    let report = json(&rig, &["gc"]);
    assert!(
        report["after"].as_u64().unwrap() < rig.size() * 6 / 10,
        "{report}"
    );
    assert_eq!(report["index_entries"], 16);
    let daemon = rig.serve(&[]);
    rig.check_all(&mut guest(&daemon), 0);
    assert_eq!(count(&daemon, "fetched_chunks"), 16);
}

#[test]
fn a_directory_without_a_cache_is_said_to_be_none() {
    let rig = Rig::new(&[1]);
    for command in ["stat", "verify", "gc"] {
        let output = run(&rig, &[command]);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("holds no cache of this version"), "{text}");
    }
}
