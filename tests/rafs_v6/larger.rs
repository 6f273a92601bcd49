//! Larger images by releases 2.2 and 2.4, which lie beside the repository and
//! not in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::rig::Fixture;
use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::manifest::{of_directory, of_session};
use crate::support::mount::{self, HostMount};

/// Image, its manifest, and the blob of another archive that it needs.
const IMAGES: [(&str, &str); 7] = [
    ("v6-zstd-blake3", "tree"),
    ("v6-lz4-sha256-toc", "tree"),
    ("v6-none-64k", "tree"),
    ("v6-old220", "tree"),
    ("v6-zstd-batch", "tree"),
    ("v6-merged", "merged"),
    ("v6-zran", "zran"),
];

fn archives() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/nydus");
    let path = std::env::var_os("TIDEGATE_FIXTURES").map_or(beside, PathBuf::from);
    if !path.join("tree.manifest").exists() {
        eprintln!(
            "NOT TESTED: there are no images at {}; TIDEGATE_FIXTURES may name another place",
            path.display()
        );
        return None;
    }
    Some(path)
}

/// The form of those archives' manifests: seconds, no link counts of
/// directories.
fn short(lines: Vec<String>) -> Vec<Value> {
    let parse = |line: String| {
        let mut entry: Value = serde_json::from_str(&line).unwrap();
        let mtime = entry["mtime"].as_i64().unwrap();
        entry["mtime"] = mtime.div_euclid(1_000_000_000).into();
        let fields = entry.as_object_mut().unwrap();
        if fields["mode"].as_str().unwrap().starts_with("0o4") {
            fields.remove("nlink");
        }
        if let Some(Value::Object(xattrs)) = fields.get_mut("xattrs") {
            xattrs.retain(|name, _| {
                !name.starts_with("system.") && !name.starts_with("security.selinux")
            });
            if xattrs.is_empty() {
                fields.remove("xattrs");
            }
        }
        entry
    };
    lines.into_iter().map(parse).collect()
}

fn same_as_listed(expected: &[Value], found: Vec<String>, what: &str) {
    let found = short(found);
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found, "{what}");
    }
    assert_eq!(expected.len(), found.len(), "{what}");
}

#[test]
fn images_of_both_releases_are_served_as_listed() {
    let Some(archives) = archives() else { return };
    for (name, tree) in IMAGES {
        let text = fs::read_to_string(archives.join(format!("{tree}.manifest"))).unwrap();
        let parse = |line: &str| serde_json::from_str(line).unwrap();
        let expected: Vec<Value> = text.lines().map(parse).collect();
        assert!(expected.len() > 40);
        let temp = tempfile::tempdir().unwrap();
        let unpacked = Command::new("tar")
            .arg("-xf")
            .arg(archives.join(format!("{name}.tar.zst")))
            .arg("-C")
            .arg(temp.path())
            .status()
            .unwrap();
        assert!(unpacked.success());
        let home = temp.path().join(name);
        if tree == "zran" {
            let layer = archives.join("zran-layer.tar.gz");
            let id = "82983f630dad4c9d4d3504c35b88ba93c210cfe92874f29d0ed12a6cb2810114";
            fs::copy(layer, home.join("blobs").join(id)).unwrap();
        }
        let fixture = Fixture::at(&home, Some(temp));
        let daemon = Daemon::tidegate(&fixture.arguments()).unwrap();
        let mut guest = daemon.mount(&Config::default()).unwrap();
        same_as_listed(&expected, of_session(&mut guest).unwrap(), name);
        if mount::is_possible() {
            let mut mounted = HostMount::new(&fixture.arguments()).unwrap();
            let found = of_directory(&mounted.path()).unwrap();
            same_as_listed(&expected, found, name);
            mounted.terminate().unwrap();
        }
    }
}
