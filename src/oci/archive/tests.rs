use std::io::Write;

use sha2::Digest as _;

use super::*;
use crate::oci::OciImage;

type Builder = tar::Builder<Vec<u8>>;

fn put(tar: &mut Builder, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes).unwrap();
}

fn link(tar: &mut Builder, name: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, name, target).unwrap();
}

fn id(bytes: &[u8]) -> String {
    format!("sha256:{}", Digest(sha2::Sha256::digest(bytes).into()))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Two images; the second has its layers as a link and compressed.
fn saved() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let config = |ids: &[String]| {
        serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": ids}
        })
        .to_string()
    };
    put(&mut tar, "aa/layer.tar", b"first layer");
    link(&mut tar, "bb/layer.tar", "../aa/layer.tar");
    put(&mut tar, "blobs/sha256/cc", &gzip(b"second layer"));
    let (first, second) = (id(b"first layer"), id(b"second layer"));
    put(
        &mut tar,
        "one.json",
        config(std::slice::from_ref(&first)).as_bytes(),
    );
    put(&mut tar, "two.json", config(&[first, second]).as_bytes());
    let list = serde_json::json!([
        {"Config": "one.json", "RepoTags": ["docker.io/library/app:latest"], "Layers": ["aa/layer.tar"]},
        {"Config": "two.json", "RepoTags": ["r.example/app:2", "b:x"],
         "Layers": ["bb/layer.tar", "blobs/sha256/cc"]}
    ]);
    put(&mut tar, "manifest.json", list.to_string().as_bytes());
    tar.into_inner().unwrap()
}

fn open(bytes: &[u8]) -> Result<Archive, OciError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    std::fs::write(&path, bytes).unwrap();
    Archive::open(&path, dir.path())
}

fn layers(archive: &Archive, name: Option<&str>) -> Vec<Vec<u8>> {
    let image = OciImage::read(archive, archive.find(name).unwrap(), None).unwrap();
    let layers = image.layers.iter().map(|layer| {
        let mut bytes = Vec::new();
        let mut reader = archive.open(&layer.descriptor).unwrap();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    layers.collect()
}

#[test]
fn images_are_found_by_tag_and_read_like_others() {
    for bytes in [saved(), gzip(&saved())] {
        let archive = open(&bytes).unwrap();
        for name in ["app", "app:latest", "docker.io/library/app"] {
            assert_eq!(layers(&archive, Some(name)), [b"first layer"]);
        }
        let wanted = [b"first layer".to_vec(), gzip(b"second layer")];
        for name in ["r.example/app:2", "b:x", "2"] {
            assert_eq!(layers(&archive, Some(name)), wanted);
        }
        assert!(archive.find(None).is_err());
        let error = archive.find(Some("c")).unwrap_err().to_string();
        assert!(
            error.contains("library/app:latest, r.example/app:2, b:x"),
            "{error}"
        );
    }
}

#[test]
fn layers_that_are_not_what_the_configuration_says_are_refused() {
    let mut bytes = saved();
    let at = bytes.windows(11).position(|it| it == b"first layer");
    bytes[at.unwrap()] = b'F';
    let archive = open(&bytes).unwrap();
    let image = OciImage::read(&archive, archive.find(Some("app")).unwrap(), None).unwrap();
    let mut reader = archive.open(&image.layers[0].descriptor).unwrap();
    assert!(reader.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn archives_of_something_else_are_refused() {
    let mut tar = Builder::new(Vec::new());
    put(&mut tar, "etc/passwd", b"");
    let error = open(&tar.into_inner().unwrap()).unwrap_err().to_string();
    assert!(error.contains("docker save"), "{error}");
    let whole = saved();
    for cut in (0..whole.len()).step_by(97) {
        // An archive may end without its mark; nothing else may be missing.
        let _ = open(&whole[..cut]);
    }
    assert!(open(b"no tar at all").is_err());
}
