//! RAFS v5: an image of `nydus-image` with one field changed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::siege::{Outcome, assert_modest, endure};

pub(crate) fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v5/lz4")
}

/// A bootstrap, and where things are in it.
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn original() -> Self {
        Self(fs::read(home().join("bootstrap")).unwrap())
    }

    pub(crate) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    /// Offset of the record of inode `index`.
    pub(crate) fn record(&self, index: u32) -> usize {
        self.u32(8192 + (index as usize - 1) * 4) as usize * 8
    }

    fn name(&self, record: usize) -> &[u8] {
        let len = usize::from(u16::from_le_bytes(
            self.0[record + 100..record + 102].try_into().unwrap(),
        ));
        &self.0[record + 128..record + 128 + len]
    }

    /// Position in the inode table, from 1, of the first inode called so.
    pub(crate) fn index(&self, name: &str) -> u32 {
        let entries = self.u32(56);
        let mut all = 1..=entries;
        all.find(|&index| self.name(self.record(index)) == name.as_bytes())
            .unwrap()
    }

    /// Offset of the record of the first inode called so.
    pub(crate) fn of(&self, name: &str) -> usize {
        self.record(self.index(name))
    }

    /// Offset of the first chunk record of a file without xattrs.
    pub(crate) fn chunks(&self, name: &str) -> usize {
        self.of(name) + 128 + name.len().next_multiple_of(8)
    }

    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    fn put64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
}

fn endure_change(change: impl FnOnce(&mut Bytes)) -> Outcome {
    let mut bytes = Bytes::original();
    change(&mut bytes);
    endure(&bytes.0, &home().join("blobs"))
}

#[test]
fn the_image_itself_has_no_faults() {
    let outcome = endure_change(|_| {});
    assert!(
        outcome.faults.is_empty() && outcome.errors.is_empty(),
        "{outcome:?}"
    );
}

/// What is changed, and what the error says: a field, whose offset follows.
type Case = (&'static str, fn(&mut Bytes), &'static str);

const SUPERBLOCK: &[Case] = &[
    (
        "no inodes",
        |b| b.put32(56, 0),
        "Inode table entries at offset 0x38",
    ),
    (
        "2^32 - 1 inodes",
        |b| b.put32(56, u32::MAX),
        "Inode table offset at offset 0x20",
    ),
    (
        "more inodes than entries",
        |b| b.put64(24, 1 << 40),
        "Inode table entries at offset 0x38",
    ),
    (
        "inode table past the end",
        |b| b.put64(32, 1 << 40),
        "Inode table offset at offset 0x20",
    ),
    (
        "inode table that wraps",
        |b| b.put64(32, u64::MAX - 7),
        "Inode table offset at offset 0x20",
    ),
    (
        "tables in each other",
        |b| b.put64(48, 8192),
        "Blob table offset at offset 0x30",
    ),
    (
        "table in the superblock",
        |b| b.put64(40, 8),
        "Prefetch table offset at offset 0x28",
    ),
    (
        "2^32 - 1 files to prefetch",
        |b| b.put32(60, u32::MAX),
        "Prefetch table offset",
    ),
    (
        "4 GiB of blob ids",
        |b| b.put32(64, u32::MAX),
        "Blob table offset at offset 0x30",
    ),
    (
        "2^32 - 1 blobs",
        |b| b.put32(68, u32::MAX),
        "Extended blob table offset at offset 0x48",
    ),
    (
        "no blob ids",
        |b| b.put32(64, 0),
        "Entries of the extended blob table at offset",
    ),
    (
        "chunks of no bytes",
        |b| b.put32(12, 0),
        "Chunk size at offset 0xc",
    ),
    (
        "chunks of 2 GiB",
        |b| b.put32(12, 1 << 31),
        "Chunk size at offset 0xc",
    ),
    (
        "flags of another format",
        |b| b.put64(16, 0x236),
        "Flags at offset 0x10",
    ),
    (
        "a blob id with a way out",
        |b| {
            let at = b.u32(48) as usize + 8;
            b.put(at, b"../../etc/passwd");
        },
        "Blob id at offset",
    ),
    (
        "a file as the root",
        |b| b.put32(b.record(1) + 60, 0o100_644),
        "is no directory",
    ),
    (
        "no root",
        |b| b.put32(8192, u32::MAX),
        "at offset 0x7fffffff8",
    ),
];

#[test]
fn superblocks_and_tables_that_lie_are_refused() {
    for (what, change, wanted) in SUPERBLOCK {
        let outcome = endure_change(change);
        assert!(outcome.refused, "{what}: {outcome:?}");
        assert!(outcome.says(wanted), "{what}: {outcome:?}");
    }
    assert_modest();
}

const INODES: &[Case] = &[
    (
        "a directory in itself",
        |b| {
            let (at, own) = (b.of("dir"), b.index("dir"));
            b.put32(at + 92, own);
        },
        "First entry at offset",
    ),
    (
        "the root in a directory",
        |b| b.put32(b.of("dir") + 92, 1),
        "First entry at offset",
    ),
    (
        "a directory's entries in another",
        |b| {
            let (at, first) = (b.of("dir"), b.u32(b.of("many") + 92));
            b.put32(at + 92, first);
        },
        "Proof failed",
    ),
    (
        "2^32 - 1 entries",
        |b| b.put32(b.of("many") + 96, u32::MAX),
        "First entry at offset",
    ),
    (
        "entries past the table",
        |b| b.put32(b.of("many") + 92, u32::MAX),
        "First entry at offset",
    ),
    (
        "a directory of another",
        |b| b.put64(b.of("empty") + 32, 99),
        "Inode number of the parent",
    ),
    (
        "a name of dots",
        |b| {
            let at = b.of("file");
            b.put(at + 100, &[2, 0]);
            b.put(at + 128, b"..");
        },
        "Name at offset",
    ),
    (
        "a name of one dot",
        |b| {
            let at = b.of("file");
            b.put(at + 100, &[1, 0]);
            b.put(at + 128, b".");
        },
        "Name at offset",
    ),
    (
        "a name with a slash",
        |b| b.put(b.of("file") + 129, b"/"),
        "Name at offset",
    ),
    (
        "a name with a zero",
        |b| b.put(b.of("file") + 129, &[0]),
        "Name at offset",
    ),
    (
        "no name",
        |b| b.put(b.of("file") + 100, &[0, 0]),
        "Length of the name at offset",
    ),
    (
        "a name of 64 KiB",
        |b| b.put(b.of("file") + 100, &[0xff; 2]),
        "Length of the name at offset",
    ),
    (
        "a name twice",
        |b| {
            let at = b.of("null");
            b.put(at + 128, b"long");
        },
        "doubled or out of order",
    ),
    (
        "names out of order",
        |b| b.put(b.of("file") + 128, b"z"),
        "doubled or out of order",
    ),
    (
        "a directory with two names",
        |b| b.put64(b.of("empty") + 40, 3),
        "a hard link to what is no file",
    ),
    (
        "a file that is a directory's second name",
        |b| {
            let (at, other) = (b.of("same"), b.index("dir"));
            b.put64(at + 40, other.into());
        },
        "Proof failed",
    ),
    (
        "a file that is nothing's second name",
        |b| b.put64(b.of("same") + 40, u64::MAX),
        "inode 18446744073709551615",
    ),
    (
        "a link of 64 KiB",
        |b| b.put(b.of("link") + 102, &[0xff; 2]),
        "Length of the link target at offset",
    ),
    (
        "a link to nothing",
        |b| b.put(b.of("link") + 102, &[0; 2]),
        "Length of the link target at offset",
    ),
    (
        "a size below 0",
        |b| b.put64(b.of("same") + 64, u64::MAX),
        "Size at offset",
    ),
    (
        "a size that has more chunks",
        |b| b.put64(b.of("same") + 64, 1 << 40),
        "Number of chunks at offset",
    ),
    (
        "a size that has fewer chunks",
        |b| b.put64(b.of("same") + 64, 1),
        "Number of chunks at offset",
    ),
    (
        "2^32 - 1 chunks",
        |b| {
            let at = b.of("same");
            b.put64(at + 64, u64::from(u32::MAX) * 4096);
            b.put32(at + 96, u32::MAX);
        },
        "at offset",
    ),
    (
        "no type",
        |b| b.put32(b.of("file") + 60, 0o644),
        "Mode at offset",
    ),
    (
        "a mode of 32 bits",
        |b| b.put32(b.of("file") + 60, 0xffff_ffff),
        "Mode at offset",
    ),
    (
        "a time of 2^32 nanoseconds",
        |b| b.put32(b.of("file") + 108, u32::MAX),
        "Nanoseconds of the time at offset",
    ),
    (
        "xattrs of 2^64 bytes",
        |b| b.put64(b.of("chunks") + 136, u64::MAX),
        "xattrs of the inode record at offset",
    ),
    (
        "xattrs of 1 GiB",
        |b| b.put64(b.of("chunks") + 136, 1 << 30),
        "xattrs of the inode record at offset",
    ),
    (
        "an xattr of 4 GiB",
        |b| b.put32(b.of("dir") + 144, u32::MAX),
        "Xattr at offset",
    ),
    (
        "an xattr of no bytes",
        |b| b.put32(b.of("dir") + 144, 0),
        "Xattr at offset",
    ),
    (
        "a chunk of no bytes",
        |b| b.put32(b.chunks("same") + 44, 0),
        "Length of a chunk at offset",
    ),
    (
        "a chunk of 4 GiB",
        |b| b.put32(b.chunks("same") + 44, u32::MAX),
        "Length of a chunk at offset",
    ),
    (
        "a chunk of another place",
        |b| b.put64(b.chunks("same") + 64, 4096),
        "File offset of a chunk at offset",
    ),
    (
        "a chunk of no blob",
        |b| b.put32(b.chunks("same") + 32, 7),
        "chunk record at offset",
    ),
    (
        "a chunk of blob 2^32 - 1",
        |b| b.put32(b.chunks("same") + 32, u32::MAX),
        "Blob index of a chunk at offset",
    ),
    (
        "a chunk behind its blob",
        |b| b.put64(b.chunks("same") + 48, 1 << 40),
        "chunk record at offset",
    ),
    (
        "a chunk whose end wraps",
        |b| b.put64(b.chunks("same") + 48, u64::MAX),
        "chunk record at offset",
    ),
    (
        "a chunk of 4 GiB in its blob",
        |b| b.put32(b.chunks("same") + 40, u32::MAX),
        "chunk record at offset",
    ),
    (
        "an encrypted chunk",
        |b| b.put32(b.chunks("same") + 36, 5),
        "Chunk flags at offset",
    ),
    (
        "a record in another",
        |b| {
            let (slot, at) = (b.index("same"), b.of("file"));
            let at = u32::try_from(at / 8).unwrap() + 1;
            b.put32(8192 + (slot as usize - 1) * 4, at);
        },
        "at offset",
    ),
    (
        "a record past the end",
        |b| {
            let slot = b.index("same");
            b.put32(8192 + (slot as usize - 1) * 4, u32::MAX);
        },
        "at offset 0x7fffffff8",
    ),
    (
        "a record in the superblock",
        |b| {
            let slot = b.index("same");
            b.put32(8192 + (slot as usize - 1) * 4, 0);
        },
        "at offset",
    ),
    (
        "another digest of a chunk",
        |b| b.put(b.chunks("same"), &[0x55]),
        "Proof failed",
    ),
    (
        "another link target",
        |b| b.put(b.of("link") + 136, b"e"),
        "Proof failed",
    ),
];

#[test]
fn inodes_that_lie_are_errors_of_what_needs_them() {
    for (what, change, wanted) in INODES {
        let outcome = endure_change(change);
        assert!(!outcome.refused, "{what}: {outcome:?}");
        assert!(
            outcome.says(wanted) || outcome.says("chunks of /same"),
            "{what}: {outcome:?}"
        );
        assert!(!outcome.errors.is_empty(), "{what}: guests see no error");
    }
    assert_modest();
}

/// Many names of one record with many chunks: work that grows with the square
/// of the file.
#[test]
fn record_that_the_whole_table_names_is_looked_at_once() {
    let mut bytes = Bytes::original();
    let record = bytes.of("long") / 8;
    for index in 2..=bytes.u32(56) {
        let at = 8192 + (index as usize - 1) * 4;
        bytes.put32(at, u32::try_from(record).unwrap());
    }
    let outcome = endure(&bytes.0, &home().join("blobs"));
    assert!(outcome.refused || !outcome.faults.is_empty(), "{outcome:?}");
    assert_modest();
}

#[test]
fn bootstraps_that_end_early_are_refused_or_have_faults() {
    let bytes = Bytes::original().0;
    for len in (0..bytes.len()).step_by(1009).chain([8, 80, 8192, 8200]) {
        let outcome = endure(&bytes[..len], &home().join("blobs"));
        assert!(outcome.refused || !outcome.faults.is_empty(), "{len}");
    }
    assert_modest();
}
