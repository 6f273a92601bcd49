//! What hosts and guests see.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::rig::{Fixture, manifest};
use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::manifest::{difference, of_directory, of_session};
use crate::support::mount::{self, HostMount};

fn assert_same(expected: &[String], found: &[String], what: &str) {
    assert!(expected.len() > 100);
    if let Some(text) = difference(expected, found) {
        panic!("{what}: {text}");
    }
}

fn all() -> [(&'static str, Fixture); 3] {
    [
        ("lz4", Fixture::named("lz4")),
        ("zstd", Fixture::named("zstd")),
        ("inlined", Fixture::inlined()),
    ]
}

#[test]
fn guest_sees_the_tree() {
    for (name, fixture) in all() {
        let daemon = Daemon::tidegate(&fixture.arguments()).unwrap();
        let mut guest = daemon.mount(&Config::default()).unwrap();
        assert_same(&manifest(), &of_session(&mut guest).unwrap(), name);
    }
}

#[test]
fn host_sees_the_tree() {
    if !mount::is_possible() {
        return;
    }
    for (name, fixture) in all() {
        let mut mounted = HostMount::new(&fixture.arguments()).unwrap();
        let found = of_directory(&mounted.path()).unwrap();
        assert_same(&manifest(), &found, name);
        mounted.terminate().unwrap();
    }
}

fn tidegate(subcommand: &str, fixture: &Fixture, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg(subcommand)
        .args(fixture.arguments())
        .args(more)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn tools_take_the_image_as_any_other() {
    let fixture = Fixture::named("zstd");
    let (status, text) = tidegate("check", &fixture, &[]);
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.contains("321 names") && text.contains("0 faults"),
        "{text}"
    );
    let (_, text) = tidegate("cat", &fixture, &["/other name"]);
    assert!(text.starts_with("some bytes"), "{text}");
    let (_, text) = tidegate("inspect", &fixture, &["--json"]);
    let report: Value = serde_json::from_str(text.split("\n[").next().unwrap()).unwrap();
    assert_eq!(report["format"], "RAFS v5");
    assert_eq!(report["root"], Value::Null);
    assert_eq!(report["root_inode_digest"].as_str().unwrap().len(), 64);

    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("target");
    let (status, text) = tidegate("unpack", &fixture, &[target.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{text}");
    if rustix::process::geteuid().is_root() {
        assert_same(&manifest(), &of_directory(&target).unwrap(), "unpacked");
    }
}

/// Archives of larger images by releases 2.2 and 2.4, which lie beside the
/// repository and not in it.
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

/// The form of those archives' manifest: seconds, no link counts of
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
    assert_eq!(expected.len(), found.len(), "{what}");
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found, "{what}");
    }
}

#[test]
fn images_of_both_releases_are_served_as_listed() {
    let Some(archives) = archives() else { return };
    let text = fs::read_to_string(archives.join("tree.manifest")).unwrap();
    let parse = |line: &str| serde_json::from_str(line).unwrap();
    let expected: Vec<Value> = text.lines().map(parse).collect();
    assert!(expected.len() > 700);
    for name in ["v5-lz4-blake3", "v5-zstd-sha256", "v5-old220"] {
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
        let arguments: Vec<OsString> = vec![
            "--bootstrap".into(),
            home.join("bootstrap").into(),
            "--blobs".into(),
            home.join("blobs").into(),
        ];
        let daemon = Daemon::tidegate(&arguments).unwrap();
        let mut guest = daemon.mount(&Config::default()).unwrap();
        same_as_listed(&expected, of_session(&mut guest).unwrap(), name);
        if mount::is_possible() {
            let mut mounted = HostMount::new(&arguments).unwrap();
            let found = of_directory(&mounted.path()).unwrap();
            same_as_listed(&expected, found, name);
            mounted.terminate().unwrap();
        }
    }
}
