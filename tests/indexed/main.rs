//! An OCI image that nobody converted is served from its own layers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod layout;
mod reads;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use layout::{Layout, Piece, gzip, tar};
use serde_json::Value;

fn tidegate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["--log-level", "error"]).args(arguments);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The layers with what was written beside them: all that a reader needs.
fn blobs_of(layout: &Layout, index: &Path) -> String {
    let blobs = index.join("blobs");
    for file in fs::read_dir(layout.path().join("blobs/sha256")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), blobs.join(file.file_name())).unwrap();
    }
    blobs.to_str().unwrap().to_owned()
}

/// Files of three layers: gzip, plain and gzip again.
fn three_layers() -> Layout {
    let large = layout::bytes(1, 3_000_000);
    let base = tar(&[
        Piece::Directory("etc"),
        Piece::File("etc/gone", b"is deleted"),
        Piece::File("etc/kept", b"stays"),
        Piece::Directory("opaque"),
        Piece::File("opaque/below", b"is hidden"),
        Piece::File("large", &large),
        Piece::File("empty", b""),
    ]);
    let middle = tar(&[
        Piece::File("etc/.wh.gone", b""),
        Piece::File("opaque/.wh..wh..opq", b""),
        Piece::File("opaque/above", b"is seen"),
        Piece::Link("large-too", "large"),
        Piece::File("etc/changed", b"in the middle"),
    ]);
    let top = tar(&[
        Piece::File("etc/changed", &layout::bytes(2, 70_000)),
        Piece::Symlink("link", "etc/changed"),
    ]);
    Layout::new(&[gzip(&base), middle, gzip(&top)])
}

#[test]
fn a_layered_image_is_served_from_its_own_layers() {
    let layout = three_layers();
    let out = tempfile::tempdir().unwrap();
    let index = out.path().join("index");
    let source = format!("oci:{}:latest", layout.path().display());
    let output = index.to_str().unwrap();
    let report = text(&tidegate(&["index", &source, "--output", output, "--json"]));
    let report: Value = serde_json::from_str(&report).unwrap();
    let root = report["root"].as_str().unwrap();
    let layers = report["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 3);
    let names: Vec<_> = fs::read_dir(index.join("blobs")).unwrap().collect();
    assert_eq!(names.len(), 3, "one index for each layer and nothing else");

    let blobs = blobs_of(&layout, &index);
    let boot = index.join("image.boot");
    let boot = boot.to_str().unwrap();
    let image = ["--bootstrap", boot, "--blobs", &blobs, "--root", root];
    let with = |first: &[&str], last: &[&str]| {
        let line: Vec<&str> = first.iter().chain(&image).chain(last).copied().collect();
        tidegate(&line)
    };
    let checked = text(&with(&["check"], &["--json"]));
    let checked: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(checked["faults"], serde_json::json!([]));
    let listed = text(&with(&["ls"], &[]));
    let names: Vec<&str> = listed.lines().collect();
    let wanted = [
        "/",
        "/empty",
        "/etc",
        "/etc/changed",
        "/etc/kept",
        "/large",
        "/large-too",
        "/link",
        "/opaque",
        "/opaque/above",
    ];
    assert_eq!(names, wanted);
    for (path, bytes) in [
        ("large", layout::bytes(1, 3_000_000)),
        ("large-too", layout::bytes(1, 3_000_000)),
        ("etc/changed", layout::bytes(2, 70_000)),
        ("etc/kept", b"stays".to_vec()),
        ("opaque/above", b"is seen".to_vec()),
    ] {
        let read = with(&["cat"], &[path]);
        assert!(read.status.success() && read.stdout == bytes, "{path}");
    }
}

#[test]
fn a_changed_layer_and_a_changed_index_give_errors_and_no_other_bytes() {
    let layout = three_layers();
    let out = tempfile::tempdir().unwrap();
    let index = out.path().join("index");
    let source = format!("oci:{}", layout.path().display());
    let output = index.to_str().unwrap();
    let report = text(&tidegate(&["index", &source, "--output", output, "--json"]));
    let report: Value = serde_json::from_str(&report).unwrap();
    let blobs = blobs_of(&layout, &index);
    let boot = index.join("image.boot");
    let boot = boot.to_str().unwrap();
    let image = ["--bootstrap", boot, "--blobs", &blobs];
    let layer = &report["layers"][0];
    let layer_id = layer["layer"]
        .as_str()
        .unwrap()
        .trim_start_matches("sha256:");
    for id in [layer_id, layer["index"].as_str().unwrap()] {
        let path = Path::new(&blobs).join(id);
        let good = fs::read(&path).unwrap();
        let mut errors = 0;
        for part in 0..8 {
            let mut bad = good.clone();
            let at = good.len() * part / 8 + 20;
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            let line: Vec<&str> = ["cat"].iter().chain(&image).copied().collect();
            let read = tidegate(&[&line[..], &["large"]].concat());
            if read.status.success() {
                assert!(read.stdout == layout::bytes(1, 3_000_000), "{id} {at}");
            } else {
                errors += 1;
            }
        }
        assert!(errors > 0, "{id}");
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn what_cannot_be_indexed_is_said_and_leaves_nothing() {
    let base = tar(&[Piece::File("a", b"b")]);
    let zstd = Layout::new(&[zstd::bulk::compress(&base, 1).unwrap()]);
    let cut = gzip(&tar(&[Piece::File("a", &layout::bytes(3, 100_000))]));
    let cut = Layout::new(&[cut[..cut.len() - 100].to_vec()]);
    let out = tempfile::tempdir().unwrap();
    for (layout, said) in [(&zstd, "zstd"), (&cut, "layer")] {
        let index = out.path().join("index");
        let source = format!("oci:{}", layout.path().display());
        let output = tidegate(&["index", &source, "--output", index.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(said), "{error}");
        let left: Vec<_> = fs::read_dir(&index)
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        assert_eq!(left, ["blobs"], "{error}");
        assert_eq!(fs::read_dir(index.join("blobs")).unwrap().count(), 0);
    }
    let output = tidegate(&["index", "no-such-form", "--output", "/nowhere"]);
    assert!(!output.status.success());
}
