//! Image layouts on disk.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// What stands in a layer.
pub(crate) enum Piece<'a> {
    Directory(&'a str),
    File(&'a str, &'a [u8]),
    Link(&'a str, &'a str),
    Symlink(&'a str, &'a str),
}

/// Bytes that compress to about two thirds.
pub(crate) fn bytes(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(len + 64);
    while out.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let far = usize::try_from(state >> 16).unwrap();
        if state & 0x700 == 0 && far < out.len() {
            let from = out.len() - far;
            let piece: Vec<u8> = out[from..].iter().copied().take(20).collect();
            out.extend(piece);
        } else {
            out.extend(state.to_be_bytes()[..3].iter().map(|byte| byte & 0x3f));
        }
    }
    out.truncate(len);
    out
}

pub(crate) fn tar(pieces: &[Piece<'_>]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for piece in pieces {
        let mut header = Header::new_ustar();
        header.set_mode(0o755);
        header.set_mtime(1_700_000_000);
        header.set_size(0);
        match piece {
            Piece::Directory(name) => {
                header.set_entry_type(EntryType::Directory);
                archive.append_data(&mut header, name, &[][..]).unwrap();
            }
            Piece::File(name, bytes) => {
                header.set_size(bytes.len() as u64);
                archive.append_data(&mut header, name, *bytes).unwrap();
            }
            Piece::Link(name, target) => {
                header.set_entry_type(EntryType::Link);
                archive.append_link(&mut header, name, target).unwrap();
            }
            Piece::Symlink(name, target) => {
                header.set_entry_type(EntryType::Symlink);
                archive.append_link(&mut header, name, target).unwrap();
            }
        }
    }
    archive.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut it = GzEncoder::new(Vec::new(), Compression::default());
    it.write_all(bytes).unwrap();
    it.finish().unwrap()
}

/// A layout with one image.
pub(crate) struct Layout(TempDir);

impl Layout {
    /// An image of these layers as they are stored.
    pub(crate) fn new(layers: &[Vec<u8>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        let put = |kind: &str, bytes: &[u8]| {
            let hex = hex::encode(Sha256::digest(bytes));
            fs::write(dir.path().join("blobs/sha256").join(&hex), bytes).unwrap();
            json!({"mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len()})
        };
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| put("application/vnd.oci.image.layer.v1.tar+gzip", layer))
            .collect();
        let config = json!({"architecture": "amd64", "os": "linux", "config": {}});
        let kind = "application/vnd.oci.image.config.v1+json";
        let config = put(kind, config.to_string().as_bytes());
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let mut entry = put(kind, manifest.to_string().as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        let path = dir.path();
        fs::write(path.join("index.json"), index.to_string()).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}
