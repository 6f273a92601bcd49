//! Images that are built of layers, and how they are listed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::Digest as _;

use super::super::image::{self, LayerInput, LayerOptions, LayerReport};
use super::super::*;
use super::archive::layer;
use crate::build::options::BuildOptions;
use crate::build::pack::{Dict, NoDict};
use crate::build::tree::{Content, NodeIndex, Tree};
use crate::chunk::{Chunk, Digest};

/// Small chunks.
pub(super) fn options() -> BuildOptions {
    BuildOptions {
        chunk_size: 4096,
        threads: 2,
        ..BuildOptions::default()
    }
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

/// What a build of layers gives.
pub(super) struct Built {
    pub(super) dir: tempfile::TempDir,
    pub(super) merged: Merged,
    pub(super) reports: Vec<LayerReport>,
    /// Layers that were read.
    pub(super) read: usize,
}

impl Built {
    /// Names of the blobs that are left.
    pub(super) fn blobs(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.dir.path().join("blobs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Builds an image of layers.
pub(super) fn try_build(
    layers: &[Vec<u8>],
    options: &BuildOptions,
    dict: (&dyn Dict, DictId),
    cache: Option<&Path>,
) -> Result<Built, LayerError> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("blobs")).unwrap();
    let read = AtomicUsize::new(0);
    let openers: Vec<_> = layers
        .iter()
        .map(|layer| {
            let read = &read;
            move || {
                read.fetch_add(1, Ordering::Relaxed);
                let bytes: Box<dyn std::io::Read + Send> =
                    Box::new(std::io::Cursor::new(layer.clone()));
                Ok(bytes)
            }
        })
        .collect();
    let inputs: Vec<_> = layers
        .iter()
        .zip(&openers)
        .map(|(layer, open)| LayerInput {
            digest: sha256(layer),
            open,
        })
        .collect();
    let layer_options = LayerOptions {
        build: options,
        dict,
        cache,
    };
    let (merged, reports) = image::build(&inputs, &layer_options, dir.path())?;
    drop(inputs);
    let entries = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(entries, 1, "a temporary file is left");
    Ok(Built {
        dir,
        merged,
        reports,
        read: read.load(Ordering::Relaxed),
    })
}

/// The same without dict and cache.
pub(super) fn build(layers: &[Vec<u8>]) -> Built {
    try_build(layers, &options(), (&NoDict, DictId::default()), None).unwrap()
}

/// What an image of layers of these entries shows.
pub(super) fn tree(layers: &[Vec<Vec<u8>>]) -> BTreeMap<String, String> {
    let layers: Vec<_> = layers.iter().map(|parts| layer(parts)).collect();
    let Built { merged, .. } = build(&layers);
    listing(&merged.tree, &merged.packed.chunks)
}

/// Each path with what is there; the names of one inode say so.
pub(super) fn listing(tree: &Tree, chunks: &[Chunk]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut names: BTreeMap<NodeIndex, usize> = BTreeMap::new();
    let mut stack = vec![(String::new(), 0)];
    while let Some((path, at)) = stack.pop() {
        let node = &tree.nodes[at];
        let what = match &node.content {
            Content::Directory(entries) => {
                for (name, child) in entries {
                    *names.entry(*child).or_default() += 1;
                    let name = name.escape_ascii().to_string();
                    stack.push((format!("{path}/{name}"), *child));
                }
                "dir".into()
            }
            Content::File(file) => {
                let digests = file.chunks.iter().map(|&it| chunks[it as usize].digest);
                let digests: Vec<_> = digests.map(|it| it.to_string()[..8].to_owned()).collect();
                format!("file {} {}", file.size, digests.join(","))
            }
            Content::Symlink(target) => format!("link {}", target.escape_ascii()),
            other => format!("{other:?}"),
        };
        let xattrs: Vec<_> = node
            .xattrs
            .iter()
            .map(|(key, value)| format!(" {}={}", key.escape_ascii(), value.escape_ascii()))
            .collect();
        let text = format!("{what} {:o}{} #{at}", node.meta.mode, xattrs.concat());
        found.insert(path, text);
    }
    for text in found.values_mut() {
        let (rest, at) = text.rsplit_once(" #").unwrap();
        let count = names.get(&at.parse().unwrap()).copied().unwrap_or(1);
        *text = if count > 1 {
            format!("{rest} x{count}")
        } else {
            rest.into()
        };
    }
    found.remove("");
    found
}

/// How a file of one chunk is listed.
pub(super) fn is(data: &str) -> String {
    let digest = &sha256(data.as_bytes()).to_string()[..8];
    format!("file {} {digest} 640", data.len())
}

/// Fails if anything else is listed.
pub(super) fn expect(found: &BTreeMap<String, String>, wanted: &[(&str, &str)]) {
    let wanted: BTreeMap<String, String> = wanted
        .iter()
        .map(|(path, text)| ((*path).into(), (*text).into()))
        .collect();
    assert_eq!(*found, wanted);
}
