//! Image layout directories (OCI image specification 1.1, `image-layout.md`):
//! `oci-layout`, `index.json` and `blobs/ALGORITHM/HEX`.

mod write;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::blob::{BlobSource, DOCUMENT_LIMIT};
use super::error::OciError;
use super::image;
use super::manifest::{Descriptor, Index, REF_NAME};

pub use write::LayoutWriter;

/// An open image layout.
#[derive(Debug)]
pub struct Layout {
    dir: PathBuf,
    index: Index,
}

impl Layout {
    /// Opens the layout in `dir`.
    ///
    /// # Errors
    /// When there is none, or its index cannot be read.
    pub fn open(dir: &Path) -> Result<Self, OciError> {
        let mut layout = Self {
            dir: dir.to_owned(),
            index: Index::default(),
        };
        let marker = layout.document("oci-layout")?;
        let what = "oci-layout";
        let marker: serde_json::Value = image::parse(&layout, what, &marker)?;
        let version = marker.get("imageLayoutVersion").and_then(|it| it.as_str());
        if !version.is_some_and(|version| version.starts_with("1.")) {
            return Err(OciError::Invalid {
                what: what.into(),
                place: layout.place(),
                reason: format!("version {} is not supported", version.unwrap_or("none")),
            });
        }
        let index = layout.document("index.json")?;
        layout.index = image::parse(&layout, "index.json", &index)?;
        Ok(layout)
    }

    /// Splits `DIR`, `DIR:TAG` or `DIR@sha256:HEX`. A directory may have colons
    /// in its name: the shortest part that is one is taken.
    pub fn split(text: &str) -> (PathBuf, Option<String>) {
        split(text, Path::is_dir)
    }

    /// The index of the whole directory.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// What [`Layout::find`] can be asked for.
    pub fn names(&self) -> Vec<String> {
        let names = self.index.manifests.iter();
        names
            .map(|entry| entry.annotations.get(REF_NAME).unwrap_or(&entry.digest))
            .cloned()
            .collect()
    }

    /// The descriptor of that tag or digest; without a name, of the only image.
    ///
    /// # Errors
    /// When there is no such image, or several and no name. The error lists
    /// what there is.
    pub fn find(&self, name: Option<&str>) -> Result<&Descriptor, OciError> {
        let entries = &self.index.manifests;
        let Some(name) = name else {
            return match &entries[..] {
                [only] => Ok(only),
                _ => Err(OciError::Ambiguous {
                    place: self.place(),
                    available: self.names(),
                }),
            };
        };
        let tagged = |entry: &&Descriptor| {
            let tag = entry.annotations.get(REF_NAME);
            tag.is_some_and(|tag| tag == name) || entry.digest == name
        };
        // Of several entries with one tag the last was written last. Some
        // writers put the whole reference in place of the tag.
        let suffix = format!(":{name}");
        let ends = |entry: &&Descriptor| {
            let tag = entry.annotations.get(REF_NAME);
            tag.is_some_and(|tag| tag.ends_with(&suffix))
        };
        let found = entries.iter().rfind(tagged);
        found
            .or_else(|| entries.iter().rfind(ends))
            .ok_or_else(|| OciError::NotFound {
                place: self.place(),
                name: name.into(),
                available: self.names(),
            })
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, OciError> {
        let path = self.dir.join(name);
        let failed = |source| OciError::Io {
            action: "read image layout file",
            path: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(DOCUMENT_LIMIT + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        Ok(bytes)
    }
}

impl BlobSource for Layout {
    fn place(&self) -> String {
        format!("image layout {}", self.dir.display())
    }

    fn open_unchecked(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, OciError> {
        let failed = |source| OciError::Blob {
            digest: blob.digest.clone(),
            place: self.place(),
            source,
        };
        // Only a digest that was parsed becomes part of a path.
        let Some(digest) = blob.sha256() else {
            return Err(failed(io::ErrorKind::Unsupported.into()));
        };
        let path = self.dir.join("blobs/sha256").join(digest.to_string());
        let file = File::open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        Ok(Box::new(file))
    }
}

/// Splits a path from the name behind it, where a path is what `exists`.
pub(super) fn split(text: &str, exists: impl Fn(&Path) -> bool) -> (PathBuf, Option<String>) {
    if let Some((path, digest)) = text.rsplit_once("@sha256:") {
        return (path.into(), Some(format!("sha256:{digest}")));
    }
    if exists(Path::new(text)) {
        return (text.into(), None);
    }
    let parts = || text.match_indices(':').map(|(at, _)| text.split_at(at));
    let found = parts().find(|(path, _)| exists(Path::new(path)));
    match found.or_else(|| parts().next()) {
        Some((path, name)) => (path.into(), Some(name.trim_start_matches(':').into())),
        None => (text.into(), None),
    }
}

#[cfg(test)]
mod tests;
