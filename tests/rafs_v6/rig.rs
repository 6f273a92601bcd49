//! The images, and copies of them to be altered.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tidegate::backend::directory::DirectoryBackend;
use tidegate::backend::sources::{Policy, Source, Sources};
use tidegate::fs::walk::{self, Step};
use tidegate::image::{Content, Image, Pin};
use tidegate::store::{Store, StoreConfig};

use crate::nydus::{self, read};

/// The images of `tests/data/v6`, and the manifest of each one's tree.
pub(crate) const ALL: [(&str, &str); 9] = [
    ("plain", "../v5/tree"),
    ("toc", "../v5/tree"),
    ("inline", "../v5/tree"),
    ("inline-toc", "../v5/tree"),
    ("encrypted", "../v5/tree"),
    ("batch", "../v5/tree"),
    ("zran", "layer"),
    ("dict", "dict"),
    ("tarfs", "layer"),
];

/// An image on disk.
pub(crate) struct Fixture {
    pub(crate) bootstrap: PathBuf,
    pub(crate) blobs: PathBuf,
    more: Vec<OsString>,
    _home: Option<TempDir>,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v6")
}

/// The lines of a manifest, all fields.
pub(crate) fn manifest(name: &str) -> Vec<String> {
    nydus::manifest(&data().join(format!("{name}.manifest")))
}

impl Fixture {
    /// An image of `tests/data/v6`.
    pub(crate) fn named(name: &str) -> Self {
        Self::at(&data().join(name), None)
    }

    /// A bootstrap and its blobs in a directory.
    pub(crate) fn at(home: &Path, keep: Option<TempDir>) -> Self {
        let blobs = home.join("blobs");
        let mut bootstrap = home.join("bootstrap");
        if !bootstrap.exists() {
            // It is inside the blob.
            let mut files = fs::read_dir(&blobs).unwrap();
            bootstrap = files.next().unwrap().unwrap().path();
        }
        let unproved = home.ends_with("tarfs");
        let more = unproved.then(|| "--allow-unverified".into());
        Self {
            bootstrap,
            blobs,
            more: more.into_iter().collect(),
            _home: keep,
        }
    }

    /// A copy that may be altered.
    pub(crate) fn copy(name: &str) -> Self {
        let original = Self::named(name);
        let temp = tempfile::tempdir().unwrap();
        let home = temp.path().join(name);
        fs::create_dir_all(home.join("blobs")).unwrap();
        for file in fs::read_dir(&original.blobs).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), home.join("blobs").join(file.file_name())).unwrap();
        }
        if !original.bootstrap.starts_with(&original.blobs) {
            fs::copy(&original.bootstrap, home.join("bootstrap")).unwrap();
        }
        Self::at(&home, Some(temp))
    }

    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let named = [
            "--bootstrap".into(),
            self.bootstrap.clone().into(),
            "--blobs".into(),
            self.blobs.clone().into(),
        ];
        named.into_iter().chain(self.more.clone()).collect()
    }

    /// All blob files.
    pub(crate) fn blob_files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.blobs).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }

    pub(crate) fn open(&self) -> Arc<Image> {
        Arc::new(Image::open(&self.bootstrap, Pin::default()).unwrap())
    }

    /// A store over the blobs, and those of others behind them.
    pub(crate) fn store(&self, config: StoreConfig, others: &[&Self]) -> (Arc<Image>, Arc<Store>) {
        let image = self.open();
        let source = |fixture: &Self| Source {
            backend: Arc::new(DirectoryBackend::new(fixture.blobs.clone())),
            policy: Policy::default(),
        };
        let others = others.iter().map(|other| source(other));
        let sources = [source(self)].into_iter().chain(others).collect();
        let records = Arc::clone(&image);
        let config = StoreConfig {
            allow_unverified: !self.more.is_empty(),
            ..config
        };
        let blobs = image.blobs().to_vec();
        let store = Store::open_with(config, Sources::new(sources), blobs, records);
        (image, store.unwrap())
    }
}

/// Path and content of each regular file.
pub(crate) fn truth(fixture: &Fixture) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (image, store) = fixture.store(StoreConfig::default(), &[]);
    let mut truth = BTreeMap::new();
    walk::walk(&image, &mut |step| {
        let Step::Node(path, node) = step else {
            panic!("the image is damaged");
        };
        if let Content::File(_) = node.content {
            truth.insert(path.to_vec(), read(&image, &store, path).unwrap());
        }
        true
    });
    assert!(truth.len() > 290);
    truth
}
