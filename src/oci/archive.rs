//! What `docker save` writes: a tar archive with `manifest.json`, the
//! configuration and the layers of each image (Docker image specification 1.2,
//! "Combined Image JSON + Filesystem Changeset Format").
//!
//! It has no OCI manifest; one is made up, so that the image is read like
//! others.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

mod entries;

use entries::{Entries, Range, sha256, unpacked};

use super::blob::{BlobSource, DOCUMENT_LIMIT};
use super::error::OciError;
use super::image;
use super::layout::split;
use super::manifest::{Descriptor, Manifest, media_type, parse_digest};
use crate::chunk::Digest;

/// An open archive.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: Arc<File>,
    images: Vec<Image>,
    /// Where the blobs of all images are.
    blobs: HashMap<Digest, Place>,
}

/// One image of an archive.
#[derive(Debug)]
struct Image {
    tags: Vec<String>,
    descriptor: Descriptor,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
enum Place {
    /// In the archive.
    Range { offset: u64, len: u64 },
    /// Here.
    Bytes(Arc<[u8]>),
}

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Archive {
    /// Opens the archive at `path`. A compressed one is unpacked to an unnamed
    /// file in `spool_dir`.
    ///
    /// # Errors
    /// When it cannot be read or was not made by `docker save`.
    pub fn open(path: &Path, spool_dir: &Path) -> Result<Self, OciError> {
        let failed = |action| {
            move |source| OciError::Io {
                action,
                path: path.to_owned(),
                source,
            }
        };
        let file = File::open(path).map_err(failed("open archive"))?;
        let file = unpacked(file, spool_dir).map_err(failed("unpack archive"))?;
        let entries = Entries::read(&file).map_err(failed("read archive"))?;
        let mut archive = Self {
            path: path.to_owned(),
            file: Arc::new(file),
            images: Vec::new(),
            blobs: HashMap::new(),
        };
        let list = archive.document(&entries, "manifest.json")?;
        let list: Vec<Entry> = image::parse(&archive, "manifest.json", &list)?;
        for entry in list {
            archive.add(&entries, entry)?;
        }
        Ok(archive)
    }

    /// Splits `FILE` or `FILE:REFERENCE`, where the file is the shortest part
    /// that is one.
    pub fn split(text: &str) -> (PathBuf, Option<String>) {
        split(text, |path| path.exists() && !path.is_dir())
    }

    /// The descriptor of the image with that tag or digest; without a name, of
    /// the only image.
    ///
    /// # Errors
    /// When there is no such image, or several and no name.
    pub fn find(&self, name: Option<&str>) -> Result<&Descriptor, OciError> {
        let available = || {
            let all = self.images.iter();
            all.flat_map(|image| match &image.tags[..] {
                [] => vec![image.descriptor.digest.clone()],
                tags => tags.to_vec(),
            })
            .collect()
        };
        let Some(name) = name else {
            return match &self.images[..] {
                [only] => Ok(&only.descriptor),
                _ => Err(OciError::Ambiguous {
                    place: self.place(),
                    available: available(),
                }),
            };
        };
        let (wanted, suffix) = (whole(name), format!(":{name}"));
        let tests: [&dyn Fn(&String) -> bool; 3] =
            [&|tag| tag == name, &|tag| whole(tag) == wanted, &|tag| {
                tag.ends_with(&suffix)
            }];
        let by_digest = self.images.iter().find(|it| it.descriptor.digest == name);
        let by_tag = || {
            tests
                .iter()
                .find_map(|test| self.images.iter().find(|it| it.tags.iter().any(test)))
        };
        by_digest
            .or_else(by_tag)
            .map(|image| &image.descriptor)
            .ok_or_else(|| OciError::NotFound {
                place: self.place(),
                name: name.into(),
                available: available(),
            })
    }

    /// Makes a manifest of an image of the list.
    fn add(&mut self, entries: &Entries, entry: Entry) -> Result<(), OciError> {
        let bytes = self.document(entries, &entry.config)?;
        let config: Value = image::parse(self, &entry.config, &bytes)?;
        let config_blob = Descriptor::of(media_type::DOCKER_CONFIG, &bytes);
        self.keep(&config_blob, Place::Bytes(bytes.into()));
        let ids = config.pointer("/rootfs/diff_ids").and_then(Value::as_array);
        let mut layers = Vec::new();
        for (position, name) in entry.layers.unwrap_or_default().iter().enumerate() {
            let id = ids
                .and_then(|ids| ids.get(position))
                .and_then(Value::as_str);
            layers.push(self.layer(entries, name, id.and_then(parse_digest))?);
        }
        let bytes = Manifest::new(config_blob, layers).to_bytes();
        let descriptor = Descriptor::of(media_type::MANIFEST, &bytes);
        self.keep(&descriptor, Place::Bytes(bytes.into()));
        self.images.push(Image {
            tags: entry.repo_tags.unwrap_or_default(),
            descriptor,
        });
        Ok(())
    }

    /// The descriptor of a layer. One that is not compressed is named by its
    /// diff id, which is checked when it is read; others have to be read.
    fn layer(
        &mut self,
        entries: &Entries,
        name: &str,
        diff_id: Option<Digest>,
    ) -> Result<Descriptor, OciError> {
        let (offset, len) = self.entry(entries, name)?;
        let failed = |source| OciError::Blob {
            digest: name.into(),
            place: self.place(),
            source,
        };
        let mut start = [0; 4];
        let mut range = Range::new(&self.file, offset, len);
        let got = range.read(&mut start).map_err(failed)?;
        let kind = match start.get(..got) {
            Some([0x1f, 0x8b, ..]) => media_type::LAYER_GZIP,
            Some([0x28, 0xb5, 0x2f, 0xfd]) => media_type::LAYER_ZSTD,
            _ => media_type::LAYER,
        };
        let digest = match diff_id {
            Some(digest) if kind == media_type::LAYER => digest,
            _ => sha256(Range::new(&self.file, offset, len)).map_err(failed)?,
        };
        let layer = Descriptor::new(kind, &digest, len);
        self.keep(&layer, Place::Range { offset, len });
        Ok(layer)
    }

    fn keep(&mut self, blob: &Descriptor, place: Place) {
        if let Some(digest) = blob.sha256() {
            self.blobs.insert(digest, place);
        }
    }

    fn entry(&self, entries: &Entries, name: &str) -> Result<(u64, u64), OciError> {
        entries.find(name).ok_or_else(|| OciError::Invalid {
            what: name.into(),
            place: self.place(),
            reason: "it is missing; make the archive with docker save".into(),
        })
    }

    fn document(&self, entries: &Entries, name: &str) -> Result<Vec<u8>, OciError> {
        let (offset, len) = self.entry(entries, name)?;
        let failed = |source| OciError::Blob {
            digest: name.into(),
            place: self.place(),
            source,
        };
        if len > DOCUMENT_LIMIT {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        let mut bytes = Vec::new();
        Range::new(&self.file, offset, len)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        Ok(bytes)
    }
}

impl BlobSource for Archive {
    fn place(&self) -> String {
        format!("archive {}", self.path.display())
    }

    fn open_unchecked(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, OciError> {
        match blob.sha256().and_then(|digest| self.blobs.get(&digest)) {
            Some(Place::Range { offset, len }) => {
                Ok(Box::new(Range::new(&self.file, *offset, *len)))
            }
            Some(Place::Bytes(bytes)) => Ok(Box::new(io::Cursor::new(Arc::clone(bytes)))),
            None => Err(OciError::Blob {
                digest: blob.digest.clone(),
                place: self.place(),
                source: io::ErrorKind::NotFound.into(),
            }),
        }
    }
}

/// A reference without the parts that Docker fills in, but with its tag.
fn whole(reference: &str) -> String {
    let text = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let text = text.strip_prefix("library/").unwrap_or(text);
    let last = text.rsplit('/').next().unwrap_or_default();
    let tag = if last.contains(':') { "" } else { ":latest" };
    format!("{text}{tag}")
}

#[cfg(test)]
mod tests;
