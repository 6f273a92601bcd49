//! Reads any bytes as a tar archive; what can be read is built into an image,
//! which must then be whole.
//!
//! Errors are fine; panics, hangs, unbounded memory and a full disk are bugs.
//! So is an image that is written without an error and does not show each name
//! of the archive.
//!
//! Input: an archive, and behind it a byte that says how to treat it: bit 0:
//! mend the headers' checksums, bits 1 and 2: compress it.
#![no_main]

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tidegate::build::pack::NoDict;
use tidegate::build::tree::{Content, Tree};
use tidegate::build::{bootstrap, pack, source};
use tidegate::fs::walk::{self, Step};
use tidegate::image::{Image, Pin};
use tidegate_fuzz::images::small_chunks;
use tidegate_fuzz::tar::{fix_checksums, gzip, is_bomb, zstd};

/// Most bytes that an archive may unpack to.
const UNPACKED_MAX: u64 = 1 << 20;

/// Most bytes of files, holes included, that are built into an image.
const SIZE_MAX: u64 = 4 << 20;

/// From how many bytes on an image is refused without any work: no bootstrap
/// has room for so many chunks.
const REFUSED_MIN: u64 = 1 << 41;

struct Rig {
    temp: TempDir,
    archive: PathBuf,
}

thread_local! {
    static RIG: RefCell<Rig> = RefCell::new(Rig::new());
}

impl Rig {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let archive = temp.path().join("archive");
        Self { temp, archive }
    }

    fn run(&mut self, data: &[u8]) {
        let Some((&how, archive)) = data.split_last() else {
            return;
        };
        let mut archive = archive.to_vec();
        if how & 1 != 0 {
            fix_checksums(&mut archive);
        }
        let archive = match how >> 1 & 3 {
            1 => gzip(&archive),
            2 => zstd(&archive),
            _ => archive,
        };
        if is_bomb(&archive, UNPACKED_MAX) {
            return;
        }
        fs::write(&self.archive, &archive).unwrap();
        match source::scan(&self.archive, self.temp.path()) {
            Ok(tree) => self.build(tree),
            Err(error) => drop(error.to_string()),
        }
    }

    fn build(&self, mut tree: Tree) {
        let sizes = tree.nodes.iter().map(|node| match &node.content {
            Content::File(file) => file.size,
            _ => 0,
        });
        let size = sizes.fold(0, u64::saturating_add);
        if (SIZE_MAX..REFUSED_MIN).contains(&size) {
            return;
        }
        let (blobs, path) = (
            self.temp.path().join("blobs"),
            self.temp.path().join("boot"),
        );
        fs::create_dir_all(&blobs).unwrap();
        let options = small_chunks();
        // A file that the archive's end cuts off may fail here.
        if let Ok(packed) = pack::pack(&mut tree, &NoDict, &options, &blobs)
            && let Ok(written) = bootstrap::write(&path, &tree, &packed, &options, &[])
        {
            let pin = Pin {
                root: Some(written.root),
                require: true,
                ..Pin::default()
            };
            assert!(size < REFUSED_MIN);
            check(&Image::open(&path, pin).unwrap(), &tree);
        }
        clear(&blobs);
    }
}

/// The image shows every name of the tree.
fn check(image: &Image, tree: &Tree) {
    let mut names = 0;
    walk::walk(image, &mut |step| {
        match step {
            Step::Node(path, node) => {
                names += 1;
                let found = tree.find(path).unwrap();
                let wanted = &tree.nodes[found];
                assert_eq!(node.attr.mode, wanted.meta.mode);
                assert_eq!(node.attr.mtime, wanted.meta.mtime);
                assert_eq!(node.xattrs, wanted.xattrs);
                if let Content::File(file) = &wanted.content {
                    assert_eq!(node.attr.size, file.size);
                }
            }
            Step::Fault(path, error) => panic!("{}: {error}", walk::show(path)),
        }
        true
    });
    let entries = |index: usize| match &tree.nodes[index].content {
        Content::Directory(entries) => entries.len(),
        _ => 0,
    };
    let wanted: usize = tree.preorder().into_iter().map(entries).sum();
    assert_eq!(names, wanted + 1);
}

fn clear(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
}

fuzz_target!(|data: &[u8]| RIG.with_borrow_mut(|rig| rig.run(data)));
