//! What hosts and guests see.

use std::ffi::OsString;

use serde_json::Value;

use crate::nydus::archives::{archives, listed, serves_as_listed, unpack};
use crate::nydus::served::{guest_sees, host_sees, tidegate, unpacks_to};
use crate::rig::{Fixture, manifest};

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
        guest_sees(&manifest(), &fixture.arguments(), name);
    }
}

#[test]
fn host_sees_the_tree() {
    for (name, fixture) in all() {
        host_sees(&manifest(), &fixture.arguments(), name);
    }
}

#[test]
fn tools_take_the_image_as_any_other() {
    let arguments = Fixture::named("zstd").arguments();
    let (status, text) = tidegate("check", &arguments, &[]);
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.contains("321 names") && text.contains("0 faults"),
        "{text}"
    );
    let (_, text) = tidegate("cat", &arguments, &["/other name"]);
    assert!(text.starts_with("some bytes"), "{text}");
    let (_, text) = tidegate("inspect", &arguments, &["--json"]);
    let report: Value = serde_json::from_str(text.split("\n[").next().unwrap()).unwrap();
    assert_eq!(report["format"], "RAFS v5");
    assert_eq!(report["root"], Value::Null);
    assert_eq!(report["root_inode_digest"].as_str().unwrap().len(), 64);
    unpacks_to(&manifest(), &arguments, "unpacked");
}

#[test]
fn images_of_both_releases_are_served_as_listed() {
    let Some(archives) = archives() else { return };
    let expected = listed(&archives, "tree", 700);
    for name in ["v5-lz4-blake3", "v5-zstd-sha256", "v5-old220"] {
        let temp = unpack(&archives, name);
        let home = temp.path().join(name);
        let arguments: [OsString; 4] = [
            "--bootstrap".into(),
            home.join("bootstrap").into(),
            "--blobs".into(),
            home.join("blobs").into(),
        ];
        serves_as_listed(&expected, &arguments, name);
    }
}
