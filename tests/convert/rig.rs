//! Runs `tidegate convert` and reads what it says.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::image::noise;
use crate::support::layout::{Layer, Layout};

/// Runs `tidegate convert --plain-http --json` with these arguments.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["convert", "--plain-http", "--json"])
        .args(arguments)
        .env_remove("DOCKER_CONFIG")
        .env("HOME", "/nonexistent")
        .output()
        .unwrap()
}

/// The report of a conversion that must succeed.
pub(crate) fn convert(arguments: &[&str]) -> Value {
    let output = run(arguments);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a conversion that must fail complains of.
pub(crate) fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

/// Two layers: the second replaces a file of the first and deletes another.
pub(crate) fn two_layers(layout: &Layout) -> [Layer; 2] {
    let (one, two) = (noise(1, 300_000), noise(2, 200_000));
    let base = [
        ("etc/", &b""[..]),
        ("etc/kept", &one),
        ("etc/replaced", b"old"),
        ("etc/gone", b"gone"),
    ];
    let upper = [
        ("etc/", &b""[..]),
        ("etc/replaced", &two),
        ("etc/.wh.gone", b""),
    ];
    [&base[..], &upper].map(|files| layout.layer(files).unwrap())
}

/// A layout with one image of two layers under the tag `v1`.
pub(crate) fn layout() -> (Layout, [Layer; 2]) {
    let mut layout = Layout::new().unwrap();
    let layers = two_layers(&layout);
    let image = layout.image("amd64", &layers).unwrap();
    layout.tag(&image, "v1").unwrap();
    (layout, layers)
}

/// A document of a layout.
pub(crate) fn document(dir: &Path, digest: &str) -> Value {
    let file = dir.join("blobs").join(digest.replace(':', "/"));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// A sum of a report.
pub(crate) fn total(report: &Value, name: &str) -> u64 {
    report["totals"][name].as_u64().unwrap()
}
