//! Archives of larger images by releases 2.2 and 2.4, which lie beside the repository
//! and not in it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::served::{of_guest, of_host};

/// Where they are; none when they are not.
pub(crate) fn archives() -> Option<PathBuf> {
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

/// Unpacks an archive; its image is in a directory of its name.
pub(crate) fn unpack(archives: &Path, name: &str) -> TempDir {
    let temp = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar")
        .arg("-xf")
        .arg(archives.join(format!("{name}.tar.zst")))
        .arg("-C")
        .arg(temp.path())
        .status()
        .unwrap();
    assert!(unpacked.success());
    temp
}

/// The entries of the manifest of a tree, of which there are more than `least`.
pub(crate) fn listed(archives: &Path, tree: &str, least: usize) -> Vec<Value> {
    let text = fs::read_to_string(archives.join(format!("{tree}.manifest"))).unwrap();
    let parse = |line: &str| serde_json::from_str(line).unwrap();
    let expected: Vec<Value> = text.lines().map(parse).collect();
    assert!(expected.len() > least);
    expected
}

/// The form of those archives' manifests: seconds, no link counts of directories.
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

/// Guest, and host if it can mount, must see what is listed.
pub(crate) fn serves_as_listed(expected: &[Value], arguments: &[OsString], what: &str) {
    same_as_listed(expected, of_guest(arguments), what);
    if let Some(found) = of_host(arguments) {
        same_as_listed(expected, found, what);
    }
}
