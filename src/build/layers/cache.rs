//! A directory of converted layers: `layers/KEY` is a record, `blobs/ID` a
//! blob. Builds may share it; files get their names when they are complete.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::LayerError;
use super::record::LayerImage;
use crate::chunk::Digest;

/// An open directory of converted layers.
#[derive(Debug)]
pub struct LayerCache {
    layers: PathBuf,
    blobs: PathBuf,
}

impl LayerCache {
    /// Opens the directory, which is made if there is none.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(dir: &Path) -> Result<Self, LayerError> {
        let cache = Self {
            layers: dir.join("layers"),
            blobs: dir.join("blobs"),
        };
        for dir in [&cache.layers, &cache.blobs] {
            fs::create_dir_all(dir).map_err(failed("create directory", dir))?;
        }
        Ok(cache)
    }

    /// Directory of the blobs.
    pub fn blobs(&self) -> &Path {
        &self.blobs
    }

    /// The layer of that key, if its record and its own blobs are there. What
    /// is damaged is as good as missing: the layer is converted again, and the
    /// record replaced. Blobs are only looked at: whoever reads them proves
    /// each chunk.
    pub fn get(&self, key: &Digest) -> Option<LayerImage> {
        let path = self.layers.join(key.to_string());
        if !path.exists() {
            return None;
        }
        let layer = match LayerImage::open(&path) {
            Ok(layer) => layer,
            Err(error) => {
                log::warn!("{error}; the layer is converted again");
                return None;
            }
        };
        let missing = layer.blobs().iter().filter(|blob| !blob.dict).find(|blob| {
            let meta = fs::metadata(self.blobs.join(&blob.id));
            !meta.is_ok_and(|meta| meta.is_file() && meta.len() == blob.stored_size)
        });
        match missing {
            None => Some(layer),
            Some(blob) => {
                let (dir, id) = (self.blobs.display(), &blob.id);
                log::info!("{dir} has no blob {id}; its layer is converted again");
                None
            }
        }
    }

    /// A file for a record, which [`LayerCache::put`] gives its name.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(&self) -> Result<NamedTempFile, LayerError> {
        let file = tempfile::Builder::new()
            .prefix(".record-")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(&self.layers);
        file.map_err(failed("make a temporary file in", &self.layers))
    }

    /// Keeps a complete record.
    ///
    /// # Errors
    /// What the system says.
    pub fn put(&self, key: &Digest, record: NamedTempFile) -> Result<(), LayerError> {
        let path = self.layers.join(key.to_string());
        let named = record.persist(&path).map_err(|error| error.error);
        named.map(drop).map_err(failed("write layer record", &path))
    }
}

/// Puts the blob of that name into another directory: as a further name, or a
/// copy where that is not possible.
///
/// # Errors
/// What the system says.
pub fn place_blob(id: &str, from: &Path, to: &Path) -> Result<(), LayerError> {
    let (from, target) = (from.join(id), to.join(id));
    match fs::hard_link(&from, &target) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let len = |path: &Path| fs::metadata(path).map(|meta| meta.len());
            if len(&from).ok() == len(&target).ok() {
                return Ok(());
            }
        }
        Err(_) => {}
    }
    let copy = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".blob-").tempfile_in(to)?;
        io::copy(&mut File::open(&from)?, file.as_file_mut())?;
        file.as_file().sync_all()?;
        let mode = fs::metadata(&from)?.permissions();
        file.as_file().set_permissions(mode)?;
        file.persist(&target).map_err(|error| error.error)?;
        Ok(())
    };
    copy().map_err(failed("write blob", &target))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayerError {
    let path = path.to_owned();
    move |source| LayerError::Io {
        action,
        path,
        source,
    }
}
