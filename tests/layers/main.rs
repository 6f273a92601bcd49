//! Images with layers, from an OCI layout on the command line: the same tree
//! has the same root digest, however many layers it comes in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::EntryType;

type Tar = tar::Builder<Vec<u8>>;

fn put(tar: &mut Tar, name: &str, kind: EntryType, mode: u32, data: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(1);
    header.set_gid(2);
    header.set_mtime(3);
    match kind {
        EntryType::Link | EntryType::Symlink => {
            header.set_size(0);
            let target = std::str::from_utf8(data).unwrap();
            tar.append_link(&mut header, name, target).unwrap();
        }
        _ => {
            header.set_size(data.len() as u64);
            tar.append_data(&mut header, name, data).unwrap();
        }
    }
}

fn layer(fill: impl FnOnce(&mut Tar)) -> Vec<u8> {
    let mut tar = Tar::new(Vec::new());
    fill(&mut tar);
    tar.into_inner().unwrap()
}

fn lower() -> Vec<u8> {
    layer(|tar| {
        put(tar, "bin", EntryType::Directory, 0o755, b"");
        put(tar, "bin/tool", EntryType::Regular, 0o755, &[7; 9000]);
        put(tar, "bin/old", EntryType::Regular, 0o755, b"old");
        put(tar, "etc", EntryType::Directory, 0o755, b"");
        put(tar, "etc/one", EntryType::Regular, 0o644, b"1");
        put(tar, "etc/two", EntryType::Regular, 0o644, b"2");
    })
}

fn upper() -> Vec<u8> {
    layer(|tar| {
        put(tar, "bin/link", EntryType::Link, 0, b"bin/tool");
        put(tar, "bin/.wh.old", EntryType::Regular, 0, b"");
        put(tar, "etc", EntryType::Directory, 0o700, b"");
        put(tar, "etc/three", EntryType::Symlink, 0o777, b"two");
        put(tar, "etc/.wh..wh..opq", EntryType::Regular, 0, b"");
    })
}

/// What the two layers come to.
fn flat() -> Vec<u8> {
    layer(|tar| {
        put(tar, "bin", EntryType::Directory, 0o755, b"");
        put(tar, "bin/tool", EntryType::Regular, 0o755, &[7; 9000]);
        put(tar, "bin/link", EntryType::Link, 0, b"bin/tool");
        put(tar, "etc", EntryType::Directory, 0o700, b"");
        put(tar, "etc/three", EntryType::Symlink, 0o777, b"two");
    })
}

/// An image layout made by hand.
struct Layout(PathBuf);

impl Layout {
    fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(dir.to_owned())
    }

    fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let hex = hex::encode(Sha256::digest(bytes));
        fs::write(self.path(&hex), bytes).unwrap();
        json!({"mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len()})
    }

    fn path(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.0.join("blobs/sha256").join(hex)
    }

    /// An image of one platform; gives its entry of an index.
    fn image(&self, tag: &str, architecture: &str, layers: &[Vec<u8>]) -> Value {
        let ids: Vec<_> = layers
            .iter()
            .map(|layer| format!("sha256:{}", hex::encode(Sha256::digest(layer))))
            .collect();
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| {
                let mut out =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(layer).unwrap();
                let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
                self.blob(kind, &out.finish().unwrap())
            })
            .collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": ids}
        });
        let kind = "application/vnd.oci.image.config.v1+json";
        let config = self.blob(kind, config.to_string().as_bytes());
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let mut entry = self.blob(kind, manifest.to_string().as_bytes());
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        entry
    }

    fn index(&self, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        let kind = "application/vnd.oci.image.index.v1+json";
        self.blob(kind, index.to_string().as_bytes())
    }

    fn publish(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(self.0.join("index.json"), index.to_string()).unwrap();
    }

    fn source(&self, tag: &str) -> String {
        format!("oci:{}{tag}", self.0.display())
    }
}

fn tidegate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).output().unwrap()
}

fn build(source: &str, output: &Path, more: &[&str]) -> Value {
    let output = output.to_str().unwrap();
    let line = [&["build", source, "--output", output, "--json"], more].concat();
    let done = tidegate(&line);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
    serde_json::from_slice(&done.stdout).unwrap()
}

/// The messages of a build that must fail.
fn refused(source: &str, output: &Path, more: &[&str]) -> String {
    let output = output.to_str().unwrap();
    let done = tidegate(&[&["build", source, "--output", output], more].concat());
    assert_eq!(done.status.code(), Some(1));
    String::from_utf8(done.stderr).unwrap()
}

#[test]
fn layers_come_to_the_same_root_as_the_tree_that_is_left() {
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::new(&temp.path().join("layout"));
    layout.publish(&[layout.image("app", "amd64", &[lower(), upper()])]);
    let archive = temp.path().join("flat.tar");
    fs::write(&archive, flat()).unwrap();
    let platform = ["--platform", "linux/amd64"];
    for more in [&[][..], &["--compressor", "none", "--chunk-size", "4KiB"]] {
        let layered = temp.path().join("layered");
        let more_layered = [&platform[..], more].concat();
        let found = build(&layout.source(":app"), &layered, &more_layered);
        let wanted = build(archive.to_str().unwrap(), &temp.path().join("flat"), more);
        assert_eq!(found["root"], wanted["root"]);
        assert_eq!(found["image"]["platform"], "linux/amd64");
        // The upper layer has no data.
        assert_eq!(found["blobs"].as_array().unwrap().len(), 1);
        let boot = layered.join("image.boot");
        let blobs = layered.join("blobs");
        let line = [
            "check",
            "--bootstrap",
            boot.to_str().unwrap(),
            "--blobs",
            blobs.to_str().unwrap(),
            "--root",
            found["root"].as_str().unwrap(),
        ];
        let done = tidegate(&line);
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{errors}");
    }
}

#[test]
fn a_layer_cache_stands_in_for_the_layers() {
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::new(&temp.path().join("layout"));
    let image = layout.image("app", "amd64", &[lower(), upper()]);
    layout.publish(std::slice::from_ref(&image));
    let cache = temp.path().join("cache");
    let more = [
        "--platform",
        "linux/amd64",
        "--layer-cache",
        cache.to_str().unwrap(),
    ];
    let first = build(&layout.source(""), &temp.path().join("first"), &more);
    assert_eq!(first["image"]["layers"][0]["reused"], false);
    for layer in first["image"]["layers"].as_array().unwrap() {
        fs::remove_file(layout.path(layer["digest"].as_str().unwrap())).unwrap();
    }
    let again = build(&layout.source(""), &temp.path().join("again"), &more);
    assert_eq!(again["image"]["layers"][1]["reused"], true);
    let boot = |dir: &str| fs::read(temp.path().join(dir).join("image.boot")).unwrap();
    assert!(boot("first") == boot("again"));
    assert_eq!(first["blobs"], again["blobs"]);
}

#[test]
fn images_and_platforms_are_chosen_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::new(&temp.path().join("layout"));
    let images = [
        layout.image("", "arm64", &[lower()]),
        layout.image("", "riscv64", &[lower(), upper()]),
    ];
    let mut several = layout.index(&images);
    several["annotations"] = json!({"org.opencontainers.image.ref.name": "several"});
    layout.publish(&[several, layout.image("one", "arm64", &[lower()])]);
    let out = temp.path().join("out");
    let found = build(
        &layout.source(":several"),
        &out,
        &["--platform", "linux/riscv64"],
    );
    assert_eq!(found["image"]["manifest"], images[1]["digest"]);
    for (name, more, wanted) in [
        ("", &[][..], "several images; name one of several, one"),
        (":two", &[], "no image two; it has several, one"),
        (
            ":several",
            &["--platform", "linux/s390x"],
            "no image for linux/s390x; it has linux/arm64, linux/riscv64",
        ),
        (":one", &["--platform", "linux/s390x"], "it has linux/arm64"),
    ] {
        let text = refused(&layout.source(name), &out, more);
        assert!(text.contains(wanted), "{text}");
    }
    let text = refused(".", &out, &["--platform", "linux/arm64"]);
    assert!(text.contains("source that has layers"), "{text}");
}

#[test]
fn a_layer_with_other_bytes_ends_the_build() {
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::new(&temp.path().join("layout"));
    let image = layout.image("app", "amd64", &[lower()]);
    layout.publish(std::slice::from_ref(&image));
    let manifest = fs::read(layout.path(image["digest"].as_str().unwrap())).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layer = layout.path(manifest["layers"][0]["digest"].as_str().unwrap());
    let good = fs::read(&layer).unwrap();
    let out = temp.path().join("out");
    let platform = ["--platform", "linux/amd64"];
    for at in [4, good.len() / 2, good.len() - 1] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&layer, &bytes).unwrap();
        let text = refused(&layout.source(":app"), &out, &platform);
        assert!(text.contains("layer sha256:"), "{text}");
        assert_eq!(fs::read_dir(out.join("blobs")).unwrap().count(), 0);
        assert!(!out.join("image.boot").exists());
    }
    fs::write(&layer, &good).unwrap();
    build(&layout.source(":app"), &out, &platform);
}
