//! Where things lie in a cache directory.
//!
//! Everything of Tidegate is under `DIR/tidegate/`, and everything of one
//! layout of the files under a directory for its version there: versions that
//! cannot read each other's files live side by side and never touch them.
//! Whatever else lies in `DIR` is somebody else's.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::chunk::{BlobInfo, Digest, DigestAlgorithm};

/// The directory of this version's files, below the cache directory.
pub(in crate::store) const SUBDIRECTORY: &str = "tidegate/v1";

/// Endings of a blob's files.
pub(in crate::store) const DATA: &str = "data";
pub(in crate::store) const MAP: &str = "map";
pub(in crate::store) const TABLE: &str = "table";
pub(in crate::store) const META: &str = "meta";

/// Names of the files that all blobs share.
pub(in crate::store) const USAGE: &str = "usage";
pub(in crate::store) const INDEX: &str = "index";

/// The directory of this version's files, made if it is missing.
///
/// # Errors
/// When it cannot be made.
pub(in crate::store) fn directory(cache: &Path) -> io::Result<PathBuf> {
    let dir = cache.join(SUBDIRECTORY);
    DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    Ok(dir)
}

/// The name of a blob's files, without the ending: the key of its cache. For a
/// blob that is not called by 64 hexadecimal digits the SHA-256 of its name
/// stands in.
pub(in crate::store) fn stem(blob: &BlobInfo) -> String {
    let id = match Digest::parse(&blob.id) {
        Some(_) => blob.id.clone(),
        None => DigestAlgorithm::Sha256
            .digest(blob.id.as_bytes())
            .to_string(),
    };
    let layout = blob.layout.to_string();
    let layout = layout.get(..16).unwrap_or_default();
    format!("{id}-{layout}")
}

/// The keys of all blobs that have a map in `dir`, sorted.
///
/// # Errors
/// When the directory cannot be read.
pub(in crate::store) fn stems(dir: &Path) -> io::Result<Vec<String>> {
    let mut stems = vec![];
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".map"));
        if let Some(stem) = stem.filter(|stem| is_stem(stem)) {
            stems.push(stem.to_owned());
        }
    }
    stems.sort_unstable();
    Ok(stems)
}

/// Whether a name is the key of a blob.
pub(in crate::store) fn is_stem(name: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.split_once('-')
        .is_some_and(|(id, layout)| id.len() == 64 && layout.len() == 16 && hex(id) && hex(layout))
}

/// One of a blob's files.
pub(in crate::store) fn blob_path(dir: &Path, stem: &str, ending: &str) -> PathBuf {
    dir.join(format!("{stem}.{ending}"))
}

/// Opens or creates a file that processes share, and refuses what is no
/// regular file.
///
/// # Errors
/// When it cannot be opened, is a link or no regular file.
pub(in crate::store) fn open_shared(path: &Path) -> io::Result<File> {
    open(path, true)
}

/// As [`open_shared`], and creates nothing.
///
/// # Errors
/// As that, and when there is no such file.
pub(in crate::store) fn open_existing(path: &Path) -> io::Result<File> {
    open(path, false)
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        let text = format!("{} is not a regular file", path.display());
        return Err(io::Error::other(text));
    }
    Ok(file)
}

/// Bytes that a file takes on the disk.
pub(in crate::store) fn allocated(metadata: &fs::Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

/// Bytes that the files of `dir` take on the disk.
///
/// # Errors
/// When the directory cannot be read.
pub(in crate::store) fn measure(dir: &Path) -> io::Result<u64> {
    let mut sum = 0_u64;
    for entry in fs::read_dir(dir)? {
        // A file that went meanwhile takes nothing.
        if let Ok(metadata) = entry?.metadata() {
            sum = sum.saturating_add(allocated(&metadata));
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_maps_of_blobs_name_blobs() {
        let dir = tempfile::tempdir().unwrap();
        let stem = format!("{}-{}", "5a".repeat(32), "07".repeat(8));
        for name in [
            format!("{stem}.map"),
            format!("{stem}.data"),
            format!("{}-x.map", "5a".repeat(32)),
            "usage".into(),
            "stranger.map".into(),
        ] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        assert_eq!(stems(dir.path()).unwrap(), [stem]);
    }
}
