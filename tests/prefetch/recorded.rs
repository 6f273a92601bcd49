//! Traces: what a guest reads first is written down, and is there before it is
//! read the next time.

use std::fs;

use crate::rig::{CHUNK, CHUNKS, Rig, read_all, read_chunk};

/// Reads that make a trace, and the trace.
const READS: [(&str, usize); 5] = [
    ("dir/deep/d", 3),
    ("a", 1),
    ("dir/deep/odd name\u{1}", 0),
    ("a", 0),
    ("dir/b", 1),
];
const LINES: [&str; 5] = [
    "3 /dir/deep/d",
    "1 /a",
    "0 /dir/deep/odd name\\u{1}",
    "0 /a",
    "1 /dir/b",
];

fn record(rig: &Rig, cache: &str, arguments: &[&str]) -> String {
    let daemon = rig.serve(cache, arguments);
    let mut guest = daemon.guest();
    for (name, number) in READS {
        read_chunk(&mut guest, name, number);
    }
    // What was read before says nothing new.
    read_chunk(&mut guest, "a", 1);
    daemon.end()
}

#[test]
fn first_reads_are_recorded_in_their_order() {
    let rig = Rig::new();
    record(&rig, "cache", &[]);
    let (remarks, lines) = rig.trace("cache");
    assert_eq!(lines, LINES);
    assert!(remarks.contains(&format!("# chunk-size {CHUNK}")));
    assert!(remarks.contains(&"# partial".to_owned()));
    let name = rig.traces("cache").remove(0);
    let root = rig.image.root().unwrap().replace("sha256:", "");
    assert_eq!(name.file_stem().unwrap().to_str(), Some(root.as_str()));
}

#[test]
fn a_recorded_trace_is_fetched_before_it_is_read() {
    let rig = Rig::new();
    record(&rig, "cache", &[]);
    // The next start, with nothing in the cache but the trace.
    fs::create_dir_all(rig.path("next/tidegate")).unwrap();
    let traces = |cache| rig.path(cache).join("tidegate/traces");
    fs::rename(traces("cache"), traces("next")).unwrap();

    let daemon = rig.serve("next", &[]);
    daemon.await_log("Trace replayed: 5 chunks");
    let fetches = daemon.counter("fetches");
    assert_eq!(
        daemon.counter("fetched_bytes"),
        (LINES.len() * CHUNK) as u64
    );
    let mut guest = daemon.guest();
    for (name, number) in READS {
        read_chunk(&mut guest, name, number);
    }
    assert_eq!(daemon.counter("fetches"), fetches);
}

#[test]
fn a_trace_is_good_for_another_layout_and_another_chunk_size() {
    let rig = Rig::new();
    let path = rig.path("given.trace");
    let path = path.to_str().unwrap();
    record(&rig, "cache", &["--record-trace", path]);
    assert!(rig.traces("cache").is_empty());

    let other = Rig::built_with(&["--compressor", "none", "--chunk-size", "32KiB"]);
    let daemon = other.serve("cache", &["--replay-trace", path]);
    daemon.await_log("Trace replayed: 10 chunks");
    assert_eq!(
        daemon.counter("fetched_bytes"),
        (LINES.len() * CHUNK) as u64
    );
}

#[test]
fn recording_ends_by_itself_and_a_whole_trace_is_not_recorded_again() {
    let rig = Rig::new();
    let daemon = rig.serve("cache", &["--record-seconds", "1"]);
    let mut guest = daemon.guest();
    read_chunk(&mut guest, "a", 1);
    daemon.await_log(" Trace of 1 chunks saved");
    read_chunk(&mut guest, "e", 0);
    daemon.end();
    let (remarks, lines) = rig.trace("cache");
    assert_eq!(lines, ["1 /a"]);
    assert!(remarks.contains(&"# complete".to_owned()));

    record(&rig, "cache", &[]);
    assert_eq!(rig.trace("cache").1, ["1 /a"]);
}

#[test]
fn a_daemon_that_is_killed_leaves_the_trace_so_far() {
    let rig = Rig::new();
    // Saved after a twelfth of the time.
    let daemon = rig.serve("cache", &["--record-seconds", "6"]);
    read_chunk(&mut daemon.guest(), "a", 1);
    daemon.await_log("Partial trace of 1 chunks saved");
    drop(daemon);
    let (remarks, lines) = rig.trace("cache");
    assert_eq!(lines, ["1 /a"]);
    assert!(remarks.contains(&"# partial".to_owned()));
}

#[test]
fn a_longer_partial_trace_replaces_a_shorter_one_and_not_the_other_way() {
    let rig = Rig::new();
    for (reads, lines) in [(1, 1), (5, 5), (2, 5)] {
        let daemon = rig.serve("cache", &[]);
        let mut guest = daemon.guest();
        for (name, number) in READS.into_iter().take(reads) {
            read_chunk(&mut guest, name, number);
        }
        daemon.end();
        assert_eq!(rig.trace("cache").1, LINES[..lines]);
    }
}

#[test]
fn a_hostile_trace_is_ignored_with_one_warning() {
    let rig = Rig::new();
    let text = b"\xff\xfe\n1 /nowhere\n99999999999999999 /a\n-1 /a\n0 /dir\n0 /link\n\
        0 /../../etc/passwd\nzzz\n1 relative\n# chunk-size 3\n2 /a\n1 /a/b/c\n";
    let trace = rig.file("hostile", text);
    let daemon = rig.serve("cache", &["--replay-trace", &trace]);
    daemon.await_log("Trace replayed: 1 chunks");
    read_all(&mut daemon.guest());
    let log = daemon.end();
    let warnings = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("trace"));
    assert_eq!(warnings.count(), 1, "{log}");
}

#[test]
fn nothing_is_recorded_or_replayed_when_it_is_off() {
    let rig = Rig::new();
    record(&rig, "cache", &["--record-trace", "off"]);
    assert!(rig.traces("cache").is_empty());
    record(&rig, "other", &[]);
    let traces = |cache| rig.path(cache).join("tidegate/traces");
    fs::create_dir_all(rig.path("empty/tidegate")).unwrap();
    fs::rename(traces("other"), traces("empty")).unwrap();
    let daemon = rig.serve("empty", &["--replay-trace", "off"]);
    read_chunk(&mut daemon.guest(), "e", 0);
    let log = daemon.end();
    assert!(!log.contains("Replaying"), "{log}");
}

#[test]
fn a_read_waits_for_a_chunk_of_the_trace_and_fetches_it_once() {
    let rig = Rig::new();
    let lines: String = (0..3).map(|number| format!("{number} /a\n")).collect();
    let trace = rig.file("trace", lines.as_bytes());
    let daemon = rig.serve("cache", &["--replay-trace", &trace]);
    read_all(&mut daemon.guest());
    daemon.await_log("Trace replayed: 3 chunks");
    assert_eq!(daemon.counter("fetched_bytes"), (CHUNKS * CHUNK) as u64);
}
