//! RAFS v6 without an integrity section: an image with one field changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tidegate::image::rafs::superblock::{AREA, SuperBlock};

use crate::images::{build, small_chunks, small_tree};
use crate::siege::{Outcome, assert_modest, endure};

/// An image, and where things are in its bootstrap.
#[derive(Clone)]
struct Target {
    home: Arc<TempDir>,
    bytes: Vec<u8>,
    superblock: SuperBlock,
}

impl Target {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (tree, output) = (home.path().join("tree"), home.path().join("out"));
        small_tree(&tree);
        fs::create_dir(tree.join("many")).unwrap();
        for name in 0..300 {
            fs::write(tree.join(format!("many/{name:03}{:60}", "x")), b"").unwrap();
        }
        let built = build(&tree, &output, &small_chunks(), &[]);
        let mut bytes = fs::read(&built.bootstrap).unwrap();
        // As other tools write images.
        let end = bytes.len() - tidegate::image::section::TRAILER;
        bytes[end..].fill(0);
        let superblock = SuperBlock::parse(&bytes[..AREA]).unwrap();
        Self {
            home: Arc::new(home),
            bytes,
            superblock,
        }
    }

    fn blobs(&self) -> PathBuf {
        self.home.path().join("out/blobs")
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes[at..at + 2].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn inode_at(&self, nid: u64) -> usize {
        usize::try_from(u64::from(self.superblock.meta_block) * 4096 + nid * 32).unwrap()
    }

    fn xattrs_len(&self, inode: usize) -> usize {
        match usize::from(self.u16(inode + 2)) {
            0 => 0,
            count => 12 + 4 * (count - 1),
        }
    }

    /// Offset of the chunk indices of the file of several chunks.
    fn chunks(&self) -> usize {
        let inode = self.of("chunks");
        (inode + 64 + self.xattrs_len(inode)).next_multiple_of(8)
    }

    /// Offsets of the blocks of a directory whose inode is at `at`, with their
    /// lengths.
    fn blocks(&self, at: usize) -> Vec<(usize, usize)> {
        let size = usize::try_from(self.u64(at + 8)).unwrap();
        let start = u32::from_le_bytes(self.bytes[at + 16..at + 20].try_into().unwrap());
        let xattrs = self.xattrs_len(at);
        let inline = self.u16(at) >> 1 == 2;
        (0..size)
            .step_by(4096)
            .map(|from| {
                let len = (size - from).min(4096);
                if inline && len < 4096 {
                    (at + 64 + xattrs, len)
                } else {
                    (start as usize * 4096 + from, len)
                }
            })
            .collect()
    }

    /// Offset of the directory entry of a name, and of the name.
    fn entry(&self, path: &str) -> (usize, usize) {
        let mut inode = self.inode_at(self.superblock.root_nid);
        let mut found = (0, 0);
        for name in path.split('/') {
            found = self.entry_in(inode, name.as_bytes());
            inode = self.inode_at(self.u64(found.0));
        }
        found
    }

    fn entry_in(&self, inode: usize, name: &[u8]) -> (usize, usize) {
        for (block, _) in self.blocks(inode) {
            let count = usize::from(self.u16(block + 8)) / 12;
            for entry in (0..count).map(|it| block + it * 12) {
                let at = block + usize::from(self.u16(entry + 8));
                if self.bytes[at..].starts_with(name) {
                    return (entry, at);
                }
            }
        }
        panic!("there is no such name");
    }

    /// Offset of the inode of a path.
    fn of(&self, path: &str) -> usize {
        self.inode_at(self.u64(self.entry(path).0))
    }

    fn endure(&self) -> Outcome {
        endure(&self.bytes, Path::new(&self.blobs()))
    }
}

/// What is changed, what the error says, and whether nothing is served.
type Case = (&'static str, fn(&mut Target), &'static str, bool);

const CASES: &[Case] = &[
    (
        "tables in each other",
        |t| {
            let at = t.superblock.blob_table.0;
            t.put(1176, &at.to_le_bytes());
        },
        "table offset at offset",
        true,
    ),
    (
        "chunk table past the end",
        |t| t.put(1184, &(80u64 << 40).to_le_bytes()),
        "Chunk table offset at offset 0x498",
        true,
    ),
    (
        "chunk table that wraps",
        |t| t.put(1176, &u64::MAX.to_le_bytes()),
        "Chunk table offset at offset 0x498",
        true,
    ),
    (
        "4 GiB of blob table",
        |t| t.put(1168, &u32::MAX.to_le_bytes()),
        "Blob table offset at offset 0x488",
        true,
    ),
    (
        "4 GiB to prefetch",
        |t| {
            t.put(1192, &4096u64.to_le_bytes());
            t.put(1200, &u32::MAX.to_le_bytes());
        },
        "Prefetch table offset at offset 0x4a8",
        true,
    ),
    (
        "65535 blobs",
        |t| t.put(1024 + 86, &[0xff; 2]),
        "blobs",
        true,
    ),
    (
        "a blob of 2^32 - 1 chunks",
        |t| {
            let at = usize::try_from(t.superblock.blob_table.0).unwrap();
            t.put(at + 72, &u32::MAX.to_le_bytes());
        },
        "chunks",
        true,
    ),
    (
        "two chunks in one place",
        |t| {
            let at = usize::try_from(t.superblock.chunk_table.0).unwrap();
            let other = t.bytes[at + 56..at + 64].to_vec();
            t.put(at + 80 + 56, &other);
        },
        "overlap",
        true,
    ),
    (
        "the root in itself",
        |t| {
            let (at, root) = (t.entry("dir").0, t.superblock.root_nid);
            t.put(at, &root.to_le_bytes());
        },
        "stands elsewhere too",
        false,
    ),
    (
        "a directory in itself",
        |t| {
            let (at, own) = (t.entry("dir/empty").0, t.u64(t.entry("dir").0));
            t.put(at, &own.to_le_bytes());
        },
        "stands elsewhere too",
        false,
    ),
    (
        "a directory with two names",
        |t| {
            let (at, other) = (t.entry("dir/empty").0, t.u64(t.entry("many").0));
            t.put(at, &other.to_le_bytes());
        },
        "stands elsewhere too",
        false,
    ),
    (
        "an inode number past the end",
        |t| t.put(t.entry("dir/file").0, &u64::MAX.to_le_bytes()),
        "inode number",
        false,
    ),
    (
        "an inode past the end",
        |t| t.put(t.entry("dir/file").0, &(1u64 << 40).to_le_bytes()),
        "at offset",
        false,
    ),
    (
        "a name with a slash",
        |t| t.put(t.entry("dir/file").1, b"/"),
        "name",
        false,
    ),
    (
        "a name with a zero",
        |t| t.put(t.entry("dir/file").1 + 1, &[0]),
        "name",
        false,
    ),
    (
        "a name twice",
        |t| {
            let at = t.entry("link").1;
            t.put(at, b"fifo");
        },
        "out of order",
        false,
    ),
    (
        "names that begin in the entries",
        |t| {
            let at = t.blocks(t.of("many"))[0].0;
            t.put(at + 8, &[0, 0]);
        },
        "of a directory block",
        false,
    ),
    (
        "names that begin past the block",
        |t| {
            let at = t.blocks(t.of("many"))[0].0;
            t.put(at + 8, &[0xfc, 0xff]);
        },
        "of a directory block",
        false,
    ),
    (
        "a directory of 2^63 bytes",
        |t| t.put(t.of("many") + 8, &i64::MAX.to_le_bytes()),
        "of a directory block",
        false,
    ),
    (
        "a directory in a block past the end",
        |t| t.put(t.of("many") + 16, &[0xff; 4]),
        "at offset",
        false,
    ),
    (
        "a type that does not exist",
        |t| t.put(t.entry("dir/file").0 + 10, &[9]),
        "type 9",
        false,
    ),
    (
        "a link of 4 GiB",
        |t| t.put(t.of("link") + 8, &(4u64 << 30).to_le_bytes()),
        "a link target of 4294967296 bytes (inode",
        false,
    ),
    (
        "a file of 2^63 bytes",
        |t| t.put(t.of("chunks") + 8, &i64::MAX.to_le_bytes()),
        "",
        false,
    ),
    (
        "256 KiB of xattrs",
        |t| t.put(t.of("dir/file") + 2, &[0xff; 2]),
        "",
        false,
    ),
    (
        "no type",
        |t| t.put(t.of("dir/file") + 4, &[0xa4, 1]),
        "inode mode",
        false,
    ),
    (
        "a chunk that is not listed",
        |t| {
            let at = t.chunks();
            t.put(at, &[0xff; 2]);
        },
        "is not listed (in the chunk indices from offset",
        false,
    ),
    (
        "a chunk of no blob",
        |t| {
            let at = t.chunks();
            t.put(at + 2, &[0]);
        },
        "in the chunk indices from offset",
        false,
    ),
    (
        "a chunk in another block",
        |t| {
            let at = t.chunks();
            t.put(at + 4, &[0xff; 4]);
        },
        "is not at block 4294967295",
        false,
    ),
];

#[test]
fn the_image_itself_has_no_faults() {
    let outcome = Target::new().endure();
    assert!(
        outcome.faults.is_empty() && outcome.errors.is_empty(),
        "{outcome:?}"
    );
}

#[test]
fn what_lies_is_refused_or_an_error_of_what_needs_it() {
    let original = Target::new();
    for (what, change, wanted, refused) in CASES {
        let mut target = original.clone();
        change(&mut target);
        let outcome = target.endure();
        assert_eq!(outcome.refused, *refused, "{what}: {outcome:?}");
        assert!(!outcome.faults.is_empty(), "{what}: nothing is noticed");
        assert!(outcome.says(wanted), "{what}: {outcome:?}");
        assert!(
            outcome.refused || !outcome.errors.is_empty(),
            "{what}: guests see no error"
        );
    }
    assert_modest();
}
