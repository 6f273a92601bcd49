//! Traces that are part of an image.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use tidegate::image::hints::ChunkRun;
use tidegate::image::{Content, Image, Pin};

use crate::rig::{CHUNK, CHUNKS, FILES, Rig, read_all, read_chunk};

const TRACE: &str =
    "3 /dir/deep/d\n1 /a\n0 /nowhere\n0 /dir/deep/odd name\\u{1}\n0 /a\n1 /z\n9 /a\n";

/// What the trace names of the files there are, in order.
const TRACED: [(&str, u64); 5] = [
    ("dir/deep/d", 3),
    ("a", 1),
    ("dir/deep/odd name\u{1}", 0),
    ("a", 0),
    ("dir/b", 1),
];

fn rig(arguments: &[&str]) -> Rig {
    let home = tempfile::tempdir().unwrap();
    let trace = home.path().join("trace");
    fs::write(&trace, TRACE).unwrap();
    let mut line = vec!["--chunk-size", "64KiB", "--trace", trace.to_str().unwrap()];
    line.extend(arguments);
    Rig::built_with(&line)
}

fn open(rig: &Rig) -> Image {
    Image::open(&rig.image.bootstrap(), Pin::default()).unwrap()
}

/// Blob and index of a chunk of a file.
fn place(image: &Image, path: &str, position: u64) -> (u16, u32) {
    let node = tidegate::fs::walk::find(image, path.as_bytes()).unwrap();
    let Content::File(file) = &node.content else {
        panic!("{path} is no file");
    };
    let group = image.chunk_group(file, node.attr.size, position).unwrap();
    let chunk = group.chunks[usize::try_from(position).unwrap()];
    (chunk.blob, chunk.index)
}

fn patch_trailer(bootstrap: &Path, at: u64, value: u64) {
    let file = fs::OpenOptions::new().write(true).open(bootstrap).unwrap();
    let start = file.metadata().unwrap().len() - 128;
    file.write_all_at(&value.to_le_bytes(), start + at).unwrap();
}

#[test]
fn the_chunks_of_a_trace_are_the_first_of_the_blob_in_its_order() {
    for compressor in ["none", "lz4", "zstd"] {
        let rig = rig(&["--compressor", compressor]);
        let image = open(&rig);
        for (index, (path, position)) in (0..).zip(TRACED) {
            assert_eq!(
                place(&image, path, position),
                (0, index),
                "{path} {position}"
            );
        }
        let run = |blob, first, count| ChunkRun { blob, first, count };
        assert_eq!(image.trace().unwrap(), [run(0, 0, 5)]);
        // The rest is in build order.
        let rest = FILES
            .into_iter()
            .filter(|(name, _)| *name == "dir/deep/d" || *name == "e");
        let rest = rest.flat_map(|(name, chunks)| (0..chunks as u64).map(move |at| (name, at)));
        let places: Vec<_> = rest
            .filter(|chunk| !TRACED.contains(chunk))
            .map(|(name, at)| place(&image, name, at).1)
            .collect();
        assert!(places.is_sorted() && places[0] >= 5, "{places:?}");
    }
}

/// Bootstrap and root of the rig's tree, built anew.
fn build_again(rig: &Rig, name: &str, arguments: &[&str]) -> (Vec<u8>, String) {
    let output = rig.path(name);
    let built = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("build")
        .arg(rig.image.source())
        .arg("--output")
        .arg(&output)
        .args(["--chunk-size", "64KiB"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let root = String::from_utf8(built.stdout).unwrap();
    (fs::read(output.join("image.boot")).unwrap(), root)
}

#[test]
fn a_trace_changes_neither_root_nor_content_and_is_reproducible() {
    let rig = rig(&[]);
    let trace = rig.file("trace", TRACE.as_bytes());
    let with = build_again(&rig, "with", &["--trace", &trace]);
    let again = build_again(&rig, "again", &["--trace", &trace, "--threads", "1"]);
    let without = build_again(&rig, "without", &[]);
    assert!(with == again);
    assert!(with.0 != without.0);
    assert_eq!(with.1, without.1);
    let daemon = rig.serve("cache", &["--root", &rig.image.root().unwrap()]);
    read_all(&mut daemon.guest());
}

#[test]
fn the_prefetch_table_names_the_files_of_the_trace() {
    let image = open(&rig(&[]));
    let nid = |path: &str| {
        let node = tidegate::fs::walk::find(&image, path.as_bytes()).unwrap();
        node.nid
    };
    let table = image.prefetch_table().unwrap();
    let found: Vec<u64> = table.iter().map(|node| node.nid).collect();
    let wanted = ["dir/deep/d", "a", "dir/deep/odd name\u{1}", "dir/b"].map(nid);
    assert_eq!(found, wanted);
}

#[test]
fn a_daemon_streams_exactly_the_trace_of_its_image() {
    let rig = rig(&[]);
    let daemon = rig.serve("cache", &[]);
    daemon.await_log("Trace of the image streamed: 5 chunks");
    let fetches = daemon.counter("fetches");
    assert_eq!(
        daemon.counter("fetched_bytes"),
        (TRACED.len() * CHUNK) as u64
    );
    let mut guest = daemon.guest();
    for (name, number) in TRACED {
        read_chunk(&mut guest, name, usize::try_from(number).unwrap());
    }
    assert_eq!(daemon.counter("fetches"), fetches);
}

#[test]
fn the_trace_of_an_image_is_not_streamed_when_replay_is_off() {
    let rig = rig(&[]);
    let daemon = rig.serve("cache", &["--replay-trace", "off"]);
    let mut guest = daemon.guest();
    guest.resolve("dir/deep/d").unwrap();
    assert_eq!(daemon.counter("fetches"), 0);
}

#[test]
fn a_table_without_a_trace_is_fetched_by_whole_files() {
    // An image whose reader knows no hints.
    let rig = rig(&[]);
    patch_trailer(&rig.image.bootstrap(), 24, 0);
    let daemon = rig.serve("cache", &["--root", &rig.image.root().unwrap()]);
    daemon.await_log("Prefetch ended: 10 chunks");
    assert_eq!(daemon.counter("fetched_bytes"), (10 * CHUNK) as u64);
    let daemon = rig.serve("other", &["--prefetch", "off"]);
    let mut guest = daemon.guest();
    guest.resolve("dir/deep/d").unwrap();
    assert_eq!(daemon.counter("fetches"), 0);
    read_all(&mut guest);
}

#[test]
fn hints_that_lead_nowhere_are_passed_over() {
    for (at, value) in [
        (96, 1 << 40),
        (96, 16),
        (96, u64::MAX),
        (104, 24),
        (104, u64::MAX),
    ] {
        let rig = rig(&[]);
        patch_trailer(&rig.image.bootstrap(), 24, 3);
        patch_trailer(&rig.image.bootstrap(), at, value);
        let root = rig.image.root().unwrap();
        let daemon = rig.serve("cache", &["--root", &root, "--prefetch", "all"]);
        read_all(&mut daemon.guest());
        daemon.await_log("complete");
    }
}

#[test]
fn of_a_chunk_dict_only_the_chunks_that_the_image_uses_are_fetched() {
    let dict = Rig::new();
    let bootstrap = dict.image.bootstrap();
    let fill = |root: &Path| {
        fs::write(root.join("shared"), crate::rig::content("dir/b"))?;
        fs::write(root.join("own"), crate::rig::noise_of(77, 1))
    };
    let line = [
        "--chunk-size",
        "64KiB",
        "--chunk-dict",
        bootstrap.to_str().unwrap(),
    ];
    let rig = Rig::of(crate::support::image::build(fill, &line).unwrap());
    for blob in fs::read_dir(dict.image.blobs()).unwrap() {
        let blob = blob.unwrap();
        fs::copy(blob.path(), rig.image.blobs().join(blob.file_name())).unwrap();
    }
    let image = open(&rig);
    assert_eq!(
        image.blobs().iter().map(|blob| blob.chunks).sum::<u32>(),
        1 + u32::try_from(CHUNKS).unwrap()
    );
    let daemon = rig.serve("cache", &["--prefetch", "all"]);
    daemon.await_log("Image complete: 3 chunks");
    assert_eq!(daemon.counter("fetched_bytes"), 3 * CHUNK as u64);
}

#[test]
fn daemons_that_start_together_fetch_a_trace_once() {
    let rig = rig(&[]);
    let daemons: Vec<_> = (0..6).map(|_| rig.serve("cache", &[])).collect();
    let mut fetched = 0;
    for daemon in &daemons {
        daemon.await_log("Trace of the image streamed: 5 chunks");
        fetched += daemon.counter("fetched_bytes");
    }
    assert_eq!(fetched, (TRACED.len() * CHUNK) as u64);
}
