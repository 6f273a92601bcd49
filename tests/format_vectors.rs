//! The test vectors of `docs/format.md`, which a second implementation made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use tidegate::chunk::{Chunk, Digest, DigestAlgorithm};
use tidegate::image::FileType;
use tidegate::image::model::Attr;
use tidegate::image::proof::{
    self, ContentDigest, FANOUT, LINK_BIT, Leaf, ListHead, ListKind, inner_digest, link_digest,
};

/// Item k: named by the SHA-256 of k, 4096 bytes.
fn item(k: u32) -> Chunk {
    Chunk {
        blob: 0,
        index: k,
        digest: DigestAlgorithm::Sha256.digest(&k.to_le_bytes()),
        len: 4096,
        offset: u64::from(k) * 4096,
        stored_offset: u64::from(k) * 100,
        stored_len: 100,
        compressed: true,
    }
}

fn leaf(kind: ListKind, items: std::ops::Range<u32>) -> Digest {
    let mut leaf = Leaf::new(kind);
    for k in items {
        match kind {
            ListKind::Layout => leaf.layout(&item(k)),
            _ => leaf.chunk(&item(k).digest, 4096),
        }
    }
    leaf.take()
}

fn list(kind: ListKind, count: u32) -> Digest {
    let fanout = u32::try_from(FANOUT).unwrap();
    let leaves: Vec<Digest> = (0..count.div_ceil(fanout))
        .map(|group| leaf(kind, group * fanout..count.min((group + 1) * fanout)))
        .collect();
    let head = ListHead {
        count: count.into(),
        ..ListHead::default()
    };
    proof::build_list(kind, &head, &leaves).1
}

fn attr(file_type: FileType, mode: u16, nlink: u32) -> Attr {
    Attr {
        file_type,
        mode,
        uid: 0,
        gid: 0,
        mtime: 1_700_000_000,
        mtime_ns: 0,
        nlink,
        rdev: 0,
        size: 0,
    }
}

fn node(attr: &Attr, xattrs: &[(&[u8], &[u8])], content: ContentDigest<'_>) -> Digest {
    proof::node_digest(attr, xattrs.iter().copied(), content)
}

/// A file's node, in one chunk.
fn file(attr: Attr, xattrs: &[(&[u8], &[u8])], bytes: &[u8]) -> Digest {
    let mut leaves = Vec::new();
    if !bytes.is_empty() {
        let mut leaf = Leaf::new(ListKind::Chunks);
        let len = u32::try_from(bytes.len()).unwrap();
        leaf.chunk(&DigestAlgorithm::Sha256.digest(bytes), len);
        leaves.push(leaf.take());
    }
    let head = ListHead {
        count: leaves.len() as u64,
        ..ListHead::default()
    };
    let (_, list) = proof::build_list(ListKind::Chunks, &head, &leaves);
    let attr = Attr {
        size: bytes.len() as u64,
        ..attr
    };
    node(&attr, xattrs, ContentDigest::File(&list))
}

/// A directory's node; entries are name, type byte and digest.
fn directory(entries: &[(&[u8], u8, Digest)]) -> Digest {
    let mut leaf = Leaf::new(ListKind::Entries);
    let mut head = ListHead {
        count: entries.len() as u64,
        ..ListHead::default()
    };
    for (name, kind, digest) in entries {
        leaf.entry(name, *kind, digest);
        head.name_bytes += name.len() as u64;
        head.directories += u64::from(*kind == FileType::Directory.code());
    }
    let leaves = if entries.is_empty() {
        Vec::new()
    } else {
        vec![leaf.take()]
    };
    let (_, list) = proof::build_list(ListKind::Entries, &head, &leaves);
    node(
        &attr(FileType::Directory, 0o755, 0),
        &[],
        ContentDigest::Directory(&list),
    )
}

fn computed() -> BTreeMap<&'static str, Digest> {
    let regular = |nlink| attr(FileType::Regular, 0o644, nlink);
    let two_names = file(regular(2), &[], b"hello");
    let xattrs: [(&[u8], &[u8]); 2] = [(b"user.a", &[0, 0xff]), (b"user.b", b"")];
    let odd = Attr {
        uid: 1000,
        gid: 1001,
        mtime: -5,
        mtime_ns: 999_999_999,
        ..regular(1)
    };
    let symlink = node(
        &attr(FileType::Symlink, 0o777, 1),
        &[],
        ContentDigest::Symlink(b"a/b"),
    );
    let device = Attr {
        rdev: 0x0011_032c,
        ..attr(FileType::CharDevice, 0o640, 1)
    };
    let chunk_leaves = [
        leaf(ListKind::Chunks, 0..128),
        leaf(ListKind::Chunks, 128..129),
    ];
    let (reg, dir, link) = (
        FileType::Regular.code(),
        FileType::Directory.code(),
        FileType::Symlink.code(),
    );
    let empty = directory(&[]);
    let tree_d = directory(&[(b"a", reg, two_names), (b"z", link, symlink)]);
    let tree_root = directory(&[
        (b"d", dir, tree_d),
        (b"e", dir, empty),
        (b"x", reg | LINK_BIT, link_digest(b"d/a")),
    ]);
    let root = |size, algorithm, node: &Digest| proof::root_digest(1, 0, size, algorithm, node);
    let sha256 = DigestAlgorithm::Sha256;
    BTreeMap::from([
        ("entries_empty_list", list(ListKind::Entries, 0)),
        ("chunks_empty_list", list(ListKind::Chunks, 0)),
        ("layout_empty_list", list(ListKind::Layout, 0)),
        ("chunks_leaf_1", leaf(ListKind::Chunks, 0..1)),
        ("chunks_leaf_2", leaf(ListKind::Chunks, 0..2)),
        ("chunks_list_1", list(ListKind::Chunks, 1)),
        ("chunks_list_2", list(ListKind::Chunks, 2)),
        ("chunks_list_128", list(ListKind::Chunks, 128)),
        ("chunks_129_leaf_0", chunk_leaves[0]),
        ("chunks_129_leaf_1", chunk_leaves[1]),
        (
            "chunks_129_inner",
            inner_digest(ListKind::Chunks, &chunk_leaves.map(|leaf| leaf.0).concat()),
        ),
        ("chunks_list_129", list(ListKind::Chunks, 129)),
        ("chunks_list_16385", list(ListKind::Chunks, 16_385)),
        ("layout_list_2", list(ListKind::Layout, 2)),
        ("node_file_hello", file(regular(1), &[], b"hello")),
        ("node_file_empty", file(regular(1), &[], b"")),
        ("node_file_two_names", two_names),
        ("node_file_xattrs", file(odd, &xattrs, b"hello")),
        ("node_symlink", symlink),
        (
            "node_char_device",
            node(&device, &[], ContentDigest::Nothing),
        ),
        (
            "node_fifo",
            node(&attr(FileType::Fifo, 0o600, 1), &[], ContentDigest::Nothing),
        ),
        ("node_directory_empty", empty),
        ("link_a", link_digest(b"a")),
        ("link_d_a", link_digest(b"d/a")),
        (
            "node_directory_a_b",
            directory(&[
                (b"a", reg, two_names),
                (b"b", reg | LINK_BIT, link_digest(b"a")),
            ]),
        ),
        ("node_tree_d", tree_d),
        ("node_tree_root", tree_root),
        ("root_tree", root(4096, sha256, &tree_root)),
        ("root_tree_1MiB", root(1 << 20, sha256, &tree_root)),
        (
            "root_tree_blake3_empty_dir",
            root(1 << 20, DigestAlgorithm::Blake3, &empty),
        ),
    ])
}

#[test]
fn hashes_are_those_that_a_second_implementation_made() {
    let text = include_str!("vectors/format.json");
    let wanted: BTreeMap<String, String> = serde_json::from_str(text).unwrap();
    let computed = computed();
    let missing: Vec<_> = wanted
        .keys()
        .filter(|name| !computed.contains_key(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    for (name, digest) in computed {
        assert_eq!(wanted.get(name), Some(&digest.to_string()), "{name}");
    }
}
