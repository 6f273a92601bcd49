//! The images that targets work on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use tempfile::TempDir;
use tidegate::backend::directory::DirectoryBackend;
use tidegate::image::Image;
use tidegate::store::{Store, StoreConfig};

use crate::images::{Built, build, noise, small_chunks, small_tree};

/// An image, with the directory that it lies in.
pub struct Bench {
    /// The tree that the image was made of.
    pub tree: std::path::PathBuf,
    /// The image.
    pub built: Built,
    _temp: TempDir,
}

impl Bench {
    /// An image with one of everything and short lists.
    pub fn small() -> Self {
        Self::of(small_tree)
    }

    /// An image whose lists have levels: 140 names in a directory, a file of
    /// 130 chunks.
    pub fn wide() -> Self {
        Self::of(|tree| {
            small_tree(tree);
            fs::create_dir(tree.join("many")).unwrap();
            for name in 0..140 {
                fs::write(tree.join(format!("many/{name:03}{:30}", "x")), b"").unwrap();
            }
            fs::write(tree.join("long"), noise(130 * 4096 - 5)).unwrap();
        })
    }

    fn of(fill: impl FnOnce(&Path)) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (tree, output) = (temp.path().join("tree"), temp.path().join("out"));
        fill(&tree);
        settle(&tree);
        let built = build(&tree, &output, &small_chunks(), &[]);
        Self {
            tree,
            built,
            _temp: temp,
        }
    }

    /// The bytes of the bootstrap.
    pub fn bootstrap(&self) -> Vec<u8> {
        fs::read(&self.built.bootstrap).unwrap()
    }

    /// The bytes of the bootstrap without its integrity section's trailer, as
    /// other tools write images.
    pub fn foreign(&self) -> Vec<u8> {
        let mut bytes = self.bootstrap();
        let end = bytes.len() - tidegate::image::section::TRAILER;
        bytes[end..].fill(0);
        bytes
    }

    /// A store with an empty cache over the image's blobs.
    pub fn store(&self, image: &Image) -> Option<Arc<Store>> {
        let backend = Arc::new(DirectoryBackend::new(self.built.blobs.clone()));
        let config = StoreConfig {
            // Made anew thousands of times.
            tag_budget: 256 << 10,
            ..StoreConfig::default()
        };
        Store::open(config, backend, image.blobs().to_vec()).ok()
    }

    /// Content of each regular file by node number.
    pub fn contents(&self) -> BTreeMap<u64, Vec<u8>> {
        let image = self.built.open();
        let store = self.store(&image).unwrap();
        let mut contents = BTreeMap::new();
        tidegate::fs::walk::walk(&image, &mut |step| {
            if let tidegate::fs::walk::Step::Node(_, node) = step
                && let tidegate::image::Content::File(_) = node.content
            {
                let bytes = crate::look::read(&image, &store, node).unwrap();
                contents.insert(node.nid, bytes);
            }
            true
        });
        contents
    }
}

/// Gives everything below `path` the same time, so that an input that was found
/// does the same in the next process.
fn settle(path: &Path) {
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            settle(&entry.unwrap().path());
        }
    }
    let time = Timespec {
        tv_sec: 1_000_000_000,
        tv_nsec: 5,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
