//! Where things lie in a cache directory.
//!
//! Everything of Tidegate is under `DIR/tidegate/`, and everything of one
//! layout of the files under a directory for its version there: versions that
//! cannot read each other's files live side by side and never touch them.
//! Whatever else lies in `DIR` is somebody else's.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::chunk::BlobInfo;

/// The directory of this version's files, below the cache directory.
pub(in crate::store) const SUBDIRECTORY: &str = "tidegate/v1";

/// The directory of this version's files, made if it is missing.
///
/// # Errors
/// When it cannot be made.
pub(in crate::store) fn directory(cache: &Path) -> io::Result<PathBuf> {
    let dir = cache.join(SUBDIRECTORY);
    DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    Ok(dir)
}

/// The name of a blob's files, without the ending: the key of its cache.
pub(in crate::store) fn stem(blob: &BlobInfo) -> String {
    let layout = blob.layout.to_string();
    let layout = layout.get(..16).unwrap_or_default();
    format!("{}-{layout}", blob.id)
}

/// Opens or creates a file that processes share, and refuses what is no
/// regular file.
///
/// # Errors
/// When it cannot be opened, is a link or no regular file.
pub(in crate::store) fn open_shared(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
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
