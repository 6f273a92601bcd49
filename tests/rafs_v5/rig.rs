//! The images, and copies of them to be altered.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tidegate::backend::directory::DirectoryBackend;
use tidegate::chunk::{Digest, DigestAlgorithm};
use tidegate::image::{Image, Pin};
use tidegate::store::{Store, StoreConfig};

use crate::nydus;

/// An image on disk.
pub(crate) struct Fixture {
    pub(crate) bootstrap: PathBuf,
    pub(crate) blobs: PathBuf,
    _home: Option<TempDir>,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v5")
}

/// The lines of the manifest of the tree in `tests/data`, all fields.
pub(crate) fn manifest() -> Vec<String> {
    nydus::manifest(&data().join("tree.manifest"))
}

impl Fixture {
    /// An image of `tests/data`: `lz4` or `zstd`.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            bootstrap: data().join(name).join("bootstrap"),
            blobs: data().join(name).join("blobs"),
            _home: None,
        }
    }

    /// The image whose bootstrap is inside its blob.
    pub(crate) fn inlined() -> Self {
        let blobs = data().join("inline/blobs");
        Self {
            bootstrap: only_file(&blobs),
            blobs,
            _home: None,
        }
    }

    /// A copy that may be altered.
    pub(crate) fn copy(name: &str) -> Self {
        let original = Self::named(name);
        let home = tempfile::tempdir().unwrap();
        let (bootstrap, blobs) = (home.path().join("bootstrap"), home.path().join("blobs"));
        fs::create_dir(&blobs).unwrap();
        fs::copy(&original.bootstrap, &bootstrap).unwrap();
        let blob = only_file(&original.blobs);
        fs::copy(&blob, blobs.join(blob.file_name().unwrap())).unwrap();
        Self {
            bootstrap,
            blobs,
            _home: Some(home),
        }
    }

    pub(crate) fn arguments(&self) -> Vec<OsString> {
        vec![
            "--bootstrap".into(),
            self.bootstrap.clone().into(),
            "--blobs".into(),
            self.blobs.clone().into(),
        ]
    }

    pub(crate) fn blob(&self) -> PathBuf {
        only_file(&self.blobs)
    }

    pub(crate) fn open(&self) -> Image {
        Image::open(&self.bootstrap, Pin::default()).unwrap()
    }

    /// SHA-256 of the bootstrap file.
    pub(crate) fn digest(&self) -> Digest {
        DigestAlgorithm::Sha256.digest(&fs::read(&self.bootstrap).unwrap())
    }

    /// A store with an empty private cache.
    pub(crate) fn store(&self, image: &Image) -> Arc<Store> {
        let backend = Arc::new(DirectoryBackend::new(self.blobs.clone()));
        Store::open(StoreConfig::default(), backend, image.blobs().to_vec()).unwrap()
    }
}

fn only_file(dir: &Path) -> PathBuf {
    let mut files = fs::read_dir(dir).unwrap();
    let path = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none(), "one blob is expected");
    path
}
