//! Every hash that a root digest is made of (`docs/format.md` has the encoding
//! for second implementations, with test vectors).
//!
//! Each hash is SHA-256 over a 16-byte domain tag and fixed-width
//! little-endian fields; byte strings carry a u32 length before them.

use sha2::{Digest as _, Sha256};

use crate::chunk::{Chunk, DIGEST_LEN, Digest, DigestAlgorithm};
use crate::image::model::{Attr, FileType};

/// Items per leaf and hashes per inner node of a list.
pub const FANOUT: usize = 128;

/// Version of the proof that this program writes and reads.
pub const VERSION: u32 = 1;

/// Bit in the type byte of a directory entry that is the second or a later name of a
/// hard-linked node.
pub const LINK_BIT: u8 = 0x80;

/// What a Merkle list is a list of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListKind {
    /// Entries of a directory.
    Entries,
    /// Chunks of a file.
    Chunks,
    /// Chunk records of a blob.
    Layout,
}

impl ListKind {
    fn tag(self) -> &'static str {
        match self {
            Self::Entries => "tidegate.entries",
            Self::Chunks => "tidegate.chunks",
            Self::Layout => "tidegate.layout",
        }
    }
}

const LEAF: u32 = 0;
const INNER: u32 = 1;
const ROOT: u32 = 2;

/// SHA-256 over tagged fields.
struct Hasher(Sha256);

impl Hasher {
    fn new(tag: &str) -> Self {
        let mut padded = [0u8; 16];
        for (to, from) in padded.iter_mut().zip(tag.bytes()) {
            *to = from;
        }
        Self(Sha256::new_with_prefix(padded))
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    fn u8(self, value: u8) -> Self {
        self.raw(&[value])
    }

    fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        self.u32(len32(bytes)).raw(bytes)
    }

    fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Lengths here come from structures whose fields are at most 32 bits wide; a
/// longer string would give a digest that nothing else can produce.
fn len32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Hashes one leaf of a list: up to [`FANOUT`] items, gathered in a buffer so
/// that SHA-256 sees one long run.
pub struct Leaf {
    kind: ListKind,
    count: u32,
    items: Vec<u8>,
}

impl Leaf {
    /// An empty leaf.
    pub fn new(kind: ListKind) -> Self {
        Self {
            kind,
            count: 0,
            items: Vec::with_capacity(FANOUT * 48),
        }
    }

    /// Adds a directory entry: its name, type byte and the child's node digest
    /// (with [`LINK_BIT`]: [`link_digest`] of the canonical path).
    pub fn entry(&mut self, name: &[u8], kind: u8, digest: &Digest) {
        self.count += 1;
        self.items.extend_from_slice(&len32(name).to_le_bytes());
        self.items.extend_from_slice(name);
        self.items.push(kind);
        self.items.extend_from_slice(&digest.0);
    }

    /// Adds a chunk of a file: digest and uncompressed length in bytes.
    pub fn chunk(&mut self, digest: &Digest, len: u32) {
        self.count += 1;
        self.items.extend_from_slice(&digest.0);
        self.items.extend_from_slice(&len.to_le_bytes());
    }

    /// Adds a chunk record of a blob.
    pub fn layout(&mut self, chunk: &Chunk) {
        self.count += 1;
        self.items.extend_from_slice(&chunk.digest.0);
        self.items.extend_from_slice(&chunk.len.to_le_bytes());
        self.items.extend_from_slice(&chunk.offset.to_le_bytes());
        self.items
            .extend_from_slice(&chunk.stored_len.to_le_bytes());
        self.items
            .extend_from_slice(&chunk.stored_offset.to_le_bytes());
        self.items.push(u8::from(chunk.compressed));
    }

    /// Items added so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The leaf's hash; the leaf is empty afterwards.
    pub fn take(&mut self) -> Digest {
        let hash = Hasher::new(self.kind.tag())
            .u32(LEAF)
            .u32(self.count)
            .raw(&self.items)
            .finish();
        self.count = 0;
        self.items.clear();
        hash
    }
}

/// Hash of an inner node over its children's hashes (`children` is their
/// concatenation).
pub fn inner_digest(kind: ListKind, children: &[u8]) -> Digest {
    let count = u32::try_from(children.len() / DIGEST_LEN).unwrap_or(u32::MAX);
    Hasher::new(kind.tag())
        .u32(INNER)
        .u32(count)
        .raw(children)
        .finish()
}

/// What is bound in at the top of a list, besides the hash of its items.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ListHead {
    /// Number of items.
    pub count: u64,
    /// Entries: how many of them are directories. Else 0.
    pub directories: u64,
    /// Entries: bytes of all names together. Else 0.
    pub name_bytes: u64,
}

/// Digest of a whole list. `top` is the hash of its single leaf or topmost
/// inner node, or zeros for an empty list.
pub fn list_digest(kind: ListKind, head: &ListHead, top: &Digest) -> Digest {
    Hasher::new(kind.tag())
        .u32(ROOT)
        .u64(head.count)
        .u64(head.directories)
        .u64(head.name_bytes)
        .raw(&top.0)
        .finish()
}

/// What a node's digest covers besides attributes and xattrs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContentDigest<'a> {
    /// A regular file: digest of its chunk list (its size is an attribute).
    File(&'a Digest),
    /// A directory: digest of its entry list.
    Directory(&'a Digest),
    /// A link's target.
    Symlink(&'a [u8]),
    /// Devices, FIFOs and sockets.
    Nothing,
}

/// Digest of a node. `xattrs` are full names with values, sorted by name.
pub fn node_digest<'a>(
    attr: &Attr,
    xattrs: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>,
    content: ContentDigest<'_>,
) -> Digest {
    let (nlink, rdev) = match attr.file_type {
        FileType::Directory => (0, 0),
        FileType::CharDevice | FileType::BlockDevice => (attr.nlink, attr.rdev),
        _ => (attr.nlink, 0),
    };
    let mut hasher = Hasher::new("tidegate.node")
        .u8(attr.file_type.code())
        .u32(u32::from(attr.mode))
        .u32(attr.uid)
        .u32(attr.gid)
        .u64(attr.mtime.cast_unsigned())
        .u32(attr.mtime_ns)
        .u32(nlink)
        .u32(rdev)
        .u32(u32::try_from(xattrs.len()).unwrap_or(u32::MAX));
    for (name, value) in xattrs {
        hasher = hasher.bytes(name).bytes(value);
    }
    match content {
        ContentDigest::File(list) => hasher.u64(attr.size).raw(&list.0),
        ContentDigest::Directory(list) => hasher.raw(&list.0),
        ContentDigest::Symlink(target) => hasher.bytes(target),
        ContentDigest::Nothing => hasher,
    }
    .finish()
}

/// What stands in place of a child's node digest in an entry that is a later
/// name of a hard link: `path` is the canonical name's path from the root,
/// components joined by `/`, without a slash before the first.
pub fn link_digest(path: &[u8]) -> Digest {
    Hasher::new("tidegate.link").bytes(path).finish()
}

/// The digest that pins a whole image.
pub fn root_digest(
    version: u32,
    must_understand: u64,
    chunk_size: u32,
    algorithm: DigestAlgorithm,
    root_node: &Digest,
) -> Digest {
    Hasher::new("tidegate.root")
        .u32(version)
        .u64(must_understand)
        .u32(chunk_size)
        .u32(algorithm.id())
        .raw(&root_node.0)
        .finish()
}

/// Number of hashes on each stored level above the leaves of a list of `count`
/// items, from the leaf hashes upwards. The single hash at the top is not
/// stored, so a list of up to [`FANOUT`] items has no levels.
pub fn level_lengths(count: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut width = count.div_ceil(FANOUT as u64);
    while width > 1 {
        levels.push(width);
        width = width.div_ceil(FANOUT as u64);
    }
    levels
}

/// Builds the levels above a list's leaves. Returns the stored levels'
/// concatenated hashes and the digest of the list.
pub fn build_list(kind: ListKind, head: &ListHead, leaves: &[Digest]) -> (Vec<u8>, Digest) {
    let mut stored = Vec::new();
    let mut level: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
    while level.len() > DIGEST_LEN {
        let above = level
            .chunks(FANOUT * DIGEST_LEN)
            .flat_map(|group| inner_digest(kind, group).0)
            .collect();
        stored.append(&mut level);
        level = above;
    }
    let mut top = Digest::default();
    for (to, from) in top.0.iter_mut().zip(level) {
        *to = from;
    }
    (stored, list_digest(kind, head, &top))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_end_below_the_single_top() {
        assert!(level_lengths(0).is_empty());
        assert!(level_lengths(128).is_empty());
        assert_eq!(level_lengths(129), [2]);
        assert_eq!(level_lengths(128 * 128), [128]);
        assert_eq!(level_lengths(128 * 128 + 1), [129, 2]);
    }

    #[test]
    fn stored_levels_have_the_announced_lengths() {
        for count in [0u64, 1, 128, 129, 20_000] {
            let leaves: Vec<Digest> = (0..count.div_ceil(128))
                .map(|i| DigestAlgorithm::Sha256.digest(&i.to_le_bytes()))
                .collect();
            let head = ListHead {
                count,
                ..ListHead::default()
            };
            let (stored, _) = build_list(ListKind::Chunks, &head, &leaves);
            let lengths: u64 = level_lengths(count).iter().sum();
            assert_eq!(stored.len() as u64, lengths * DIGEST_LEN as u64, "{count}");
        }
    }

    #[test]
    fn kinds_and_lengths_are_told_apart() {
        let top = Digest([7; 32]);
        let head = ListHead {
            count: 3,
            ..ListHead::default()
        };
        let chunks = list_digest(ListKind::Chunks, &head, &top);
        assert_ne!(chunks, list_digest(ListKind::Layout, &head, &top));
        let longer = ListHead { count: 4, ..head };
        assert_ne!(chunks, list_digest(ListKind::Chunks, &longer, &top));
    }
}
