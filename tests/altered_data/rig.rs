//! An image, a cache that outlives daemons, and hands that alter both.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate::chunk::Chunk;
use tidegate::fs::walk::{self, Step};
use tidegate::image::{Content, Image, Pin};

use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::image::{self, noise};
use crate::support::session::wire::{Body, op};
use crate::support::session::{Answer, Session};

/// Bytes of a chunk.
const CHUNK: usize = 64 << 10;

/// Sizes of the files: less than a block, about a block, about a chunk, many.
const SIZES: [usize; 7] = [1, 4095, 4097, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 777];

/// Where READs begin and how long they are: whole chunks, parts of blocks, and
/// all that one READ may have.
const READS: [(usize, usize); 3] = [(0, CHUNK), (1000, 5000), (0, 1 << 20)];

/// An image and its cache.
pub(crate) struct Rig {
    image: image::Image,
    cache: TempDir,
    /// Content of each file.
    truth: BTreeMap<String, Vec<u8>>,
    /// The image's chunks, with a file that has each.
    pub(crate) chunks: Vec<(Chunk, String)>,
}

fn fill(root: &Path) -> io::Result<()> {
    for (number, size) in (0..).zip(SIZES) {
        fs::write(root.join(format!("file-{size}")), noise(number, size))?;
    }
    Ok(())
}

/// All chunks of an image.
fn chunks(bootstrap: &Path) -> Vec<(Chunk, String)> {
    let image = Image::open(bootstrap, Pin::default()).unwrap();
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    walk::walk(&image, &mut |step| {
        let Step::Node(path, node) = step else {
            panic!("the image is damaged");
        };
        let Content::File(file) = &node.content else {
            return true;
        };
        let name = String::from_utf8(path.to_vec()).unwrap();
        let mut at = 0;
        while at < file.chunks() {
            let group = image.chunk_group(file, node.attr.size, at).unwrap();
            for chunk in group.chunks.iter() {
                assert!(seen.insert(chunk.index), "chunks are shared");
                found.push((*chunk, name.trim_start_matches('/').to_owned()));
            }
            at = group.start + group.chunks.len() as u64;
        }
        true
    });
    found
}

impl Rig {
    pub(crate) fn new() -> Self {
        let image = image::build(fill, &["--chunk-size", "64KiB"]).unwrap();
        let chunks = chunks(&image.bootstrap());
        assert_eq!(chunks.len(), 13);
        let names = SIZES.map(|size| format!("file-{size}"));
        let read = |name: String| (name.clone(), fs::read(image.source().join(name)).unwrap());
        Self {
            truth: names.into_iter().map(read).collect(),
            chunks,
            cache: tempfile::tempdir().unwrap(),
            image,
        }
    }

    /// Number of chunks.
    pub(crate) fn count(&self) -> u64 {
        self.chunks.len() as u64
    }

    /// A daemon on the cache.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Daemon {
        let cache = self.cache.path().to_str().unwrap();
        // Nothing is to read the cache but the guest.
        let mut all = vec!["--replay-trace", "off", "--record-trace", "off"];
        all.extend(arguments);
        self.image.serve_with_cache(cache, &all).unwrap()
    }

    /// Reads every file in every way and compares; the files that give an
    /// error must be `broken`, and no others.
    pub(crate) fn check_all_but(&self, guest: &mut Session, broken: &[&str]) {
        for (name, right) in &self.truth {
            let node = guest.resolve(name).unwrap();
            for (from, step) in READS {
                // Within the file, however short.
                let from = from.min(right.len() / 2);
                let read = read_file(guest, node, from, step, right.len());
                match (read, broken.contains(&name.as_str())) {
                    (Ok(found), false) => assert!(
                        found == right[from..],
                        "wrong bytes of {name} from {from} in steps of {step}"
                    ),
                    (Err(failure), true) if failure.errno() == Some(libc::EIO) => {}
                    (Ok(_), true) => panic!("bytes of {name}, which are nowhere"),
                    (Err(failure), _) => panic!("{name}: {failure:?}"),
                }
            }
        }
    }

    /// As [`Rig::check_all_but`], and no file may give an error.
    pub(crate) fn check(&self, guest: &mut Session) {
        self.check_all_but(guest, &[]);
    }

    /// The cache's file of this kind, `data` or `map`.
    pub(crate) fn cache_path(&self, kind: &str) -> PathBuf {
        let entries = fs::read_dir(self.cache.path().join("tidegate/v1")).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        let wanted = |path: &PathBuf| path.extension() == Some(OsStr::new(kind));
        paths.find(wanted).unwrap()
    }

    /// The cache's file of this kind, to be altered.
    pub(crate) fn cache_file(&self, kind: &str) -> File {
        open(&self.cache_path(kind))
    }

    /// Alters the cache's copy of a chunk in several places.
    pub(crate) fn alter_cached(&self, chunk: &Chunk) {
        alter(&self.cache_file("data"), chunk.offset, chunk.len);
    }

    /// Alters a chunk in its blob; doing it again restores it.
    pub(crate) fn alter_source(&self, chunk: &Chunk) {
        let blob = open(&self.blob_path());
        alter(&blob, chunk.stored_offset, chunk.stored_len);
    }

    /// The image's one blob.
    pub(crate) fn blob_path(&self) -> PathBuf {
        let mut blobs = fs::read_dir(self.image.blobs()).unwrap();
        let path = blobs.next().unwrap().unwrap().path();
        assert!(blobs.next().is_none(), "one blob is expected");
        path
    }
}

/// Connects a guest.
pub(crate) fn guest(daemon: &Daemon) -> Session {
    daemon.mount(&Config::default()).unwrap()
}

/// Opens a file to alter it.
pub(crate) fn open(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).open(path).unwrap()
}

/// Flips bits of the first, the last and some bytes in between, one in every
/// block of 4 KiB.
fn alter(file: &File, offset: u64, len: u32) {
    let len = u64::from(len);
    let inner = (1..len / 4096).map(|block| block * 4096 + block * 331 % 4096);
    let places: BTreeSet<u64> = inner.chain([0, len / 2, len - 1]).collect();
    for place in places {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset + place).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], offset + place)
            .unwrap();
    }
}

/// All bytes of a file from `from` on, in READs of `step` bytes.
fn read_file(
    guest: &mut Session,
    node: u64,
    from: usize,
    step: usize,
    size: usize,
) -> Answer<Vec<u8>> {
    let mut found = Vec::new();
    // One READ behind the end as well.
    for at in (from..=size).step_by(step) {
        let body = Body::read(0, at as u64, u32::try_from(step).unwrap()).0;
        found.extend(guest.raw(op::READ, node, &body, step)?);
    }
    Ok(found)
}
