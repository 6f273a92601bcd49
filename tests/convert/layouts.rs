//! From layout to layout.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::rig::{convert, document, layout, refused, total, two_layers};
use crate::support::image::noise;
use crate::support::layout::Layout;

/// The files of an image of one layer: name and content.
fn files(dir: &Path, digest: &str) -> BTreeMap<String, Vec<u8>> {
    let manifest = document(dir, digest);
    let [layer] = &manifest["layers"].as_array().unwrap()[..] else {
        panic!("one layer");
    };
    let file = dir
        .join("blobs")
        .join(layer["digest"].as_str().unwrap().replace(':', "/"));
    let plain = flate2::read::GzDecoder::new(fs::File::open(file).unwrap());
    let mut archive = tar::Archive::new(plain);
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(name, content);
    }
    files
}

#[test]
fn there_and_back_the_tree_is_the_same() {
    let (layout, _) = layout();
    let out = tempfile::tempdir().unwrap();
    let chunks = format!("oci:{}:v1", out.path().join("chunks").display());
    let plain = format!("oci:{}:v1", out.path().join("plain").display());
    convert(&[&layout.name("v1"), &chunks]);
    let report = convert(&["--to-oci", &chunks, &plain]);
    let digest = report["target"]["digest"].as_str().unwrap();
    let found = files(&out.path().join("plain"), digest);
    let wanted = BTreeMap::from([
        ("./".to_owned(), Vec::new()),
        ("./etc/".to_owned(), Vec::new()),
        ("./etc/kept".to_owned(), noise(1, 300_000)),
        ("./etc/replaced".to_owned(), noise(2, 200_000)),
    ]);
    assert!(found == wanted, "{:?}", found.keys());
    let manifest = document(&out.path().join("plain"), digest);
    let config = manifest["config"]["digest"].as_str().unwrap();
    let config = document(&out.path().join("plain"), config);
    assert_eq!(config["config"]["Entrypoint"], json!(["/bin/sh"]));
}

#[test]
fn an_index_becomes_an_index() {
    let mut layout = Layout::new().unwrap();
    let [base, upper] = two_layers(&layout);
    let own = layout.layer(&[("own", &noise(3, 50_000)[..])]).unwrap();
    let amd = layout.image("amd64", &[base.clone(), upper]).unwrap();
    let arm = layout.image("arm64", &[base, own]).unwrap();
    let attestation = layout.image("unknown", &[]).unwrap();
    let platform = |architecture: &str, os: &str| json!({ "architecture": architecture, "os": os });
    let arm_platform =
        json!({ "architecture": "arm64", "os": "linux", "variant": "v8", "os.version": "7" });
    let index = layout
        .index(&[
            (&amd, platform("amd64", "linux")),
            (&arm, arm_platform.clone()),
            (&attestation, platform("unknown", "unknown")),
        ])
        .unwrap();
    layout.tag(&index, "v1").unwrap();
    let out = tempfile::tempdir().unwrap();
    let target = format!("oci:{}:v1", out.path().display());
    let report = convert(&[&layout.name("v1"), &target]);
    let digest = report["target"]["digest"].as_str().unwrap();
    let converted = document(out.path(), digest);
    let entries = converted["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["platform"], arm_platform);
    assert_eq!(
        converted["annotations"]["dev.tidegate.source.digest"],
        index["digest"]
    );
    assert_eq!(report["left_out"][0]["digest"], attestation["digest"]);
    for (entry, source) in entries.iter().zip([&amd, &arm]) {
        let manifest = document(out.path(), entry["digest"].as_str().unwrap());
        let named = &manifest["annotations"]["dev.tidegate.source.digest"];
        assert_eq!(*named, source["digest"]);
    }
    // The layer that both have was read for one of them.
    let reused = |image: usize| report["images"][image]["layers"][0]["reused"].clone();
    assert_eq!([reused(0), reused(1)], [json!(false), json!(true)]);

    let only = format!("oci:{}:arm", out.path().display());
    let report = convert(&[&layout.name("v1"), &only, "--platform", "linux/arm64"]);
    let one = document(out.path(), report["target"]["digest"].as_str().unwrap());
    assert!(one["layers"].is_array(), "{one}");
    let missing = refused(&[&layout.name("v1"), &only, "--platform", "linux/s390x"]);
    assert!(missing.contains("linux/s390x"), "{missing}");
}

#[test]
fn a_run_that_was_cut_short_goes_on() {
    let (layout, layers) = layout();
    let out = tempfile::tempdir().unwrap();
    let target = format!("oci:{}:v1", out.path().join("chunks").display());
    let second = layout.file(layers[1].digest());
    let bytes = fs::read(&second).unwrap();
    let mut damaged = bytes.clone();
    let last = damaged.len() - 20;
    damaged[last] ^= 1;
    fs::write(&second, &damaged).unwrap();
    let complaint = refused(&[&layout.name("v1"), &target]);
    assert!(complaint.contains(layers[1].digest()), "{complaint}");
    let index = fs::read(out.path().join("chunks/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["manifests"], json!([]));

    fs::write(&second, &bytes).unwrap();
    let report = convert(&[&layout.name("v1"), &target]);
    let read = total(&report, "read_bytes");
    assert_eq!(read, bytes.len() as u64, "only the second layer is read");
}

#[test]
fn the_same_source_gives_the_same_image() {
    let (layout, _) = layout();
    let digests: Vec<Value> = ["1", "2"]
        .iter()
        .map(|threads| {
            let out = tempfile::tempdir().unwrap();
            let target = format!("oci:{}:v1", out.path().display());
            let report = convert(&[&layout.name("v1"), &target, "--threads", threads]);
            report["target"]["digest"].clone()
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn what_cannot_be_converted_is_refused() {
    let (layout, _) = layout();
    let out = tempfile::tempdir().unwrap();
    let target = format!("oci:{}:v1", out.path().display());
    let unknown = refused(&[&layout.name("v2"), &target]);
    assert!(unknown.contains("v1"), "{unknown}");
    let plain = refused(&["--to-oci", &layout.name("v1"), &target]);
    assert!(plain.contains("no image of chunks"), "{plain}");
    let digest = format!("oci:{}@sha256:{}", out.path().display(), "0".repeat(64));
    let named = refused(&[&layout.name("v1"), &digest]);
    assert!(named.contains("give a tag"), "{named}");
}
