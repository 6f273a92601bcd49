//! Small trees, images of them, and what an image says of its tree.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate::build::options::BuildOptions;
use tidegate::build::{bootstrap, dict, pack, source};
use tidegate::chunk::{Chunk, Digest};
use tidegate::fs::walk::{self, Step};
use tidegate::image::model::Attr;
use tidegate::image::{Content, Image, Node, Pin};

/// An image on disk.
pub struct Built {
    pub bootstrap: PathBuf,
    pub blobs: PathBuf,
    pub blob_ids: Vec<String>,
    pub root: Digest,
}

impl Built {
    pub fn open(&self) -> Image {
        Image::open(&self.bootstrap, self.pin()).unwrap()
    }

    pub fn pin(&self) -> Pin {
        Pin {
            root: Some(self.root),
            require: true,
            ..Pin::default()
        }
    }
}

/// Builds an image of `tree` in `output`.
pub fn build(tree: &Path, output: &Path, options: &BuildOptions, dicts: &[PathBuf]) -> Built {
    let blobs = output.join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let dict = dict::read_dict(dicts, options).unwrap();
    let mut tree = source::scan(tree, output).unwrap();
    let packed = pack::pack(&mut tree, &dict, options, &blobs).unwrap();
    let path = output.join("image.boot");
    let written = bootstrap::write(&path, &tree, &packed, options, &[]).unwrap();
    let blob_ids = packed.blobs.iter().map(|blob| blob.id.clone()).collect();
    Built {
        bootstrap: path,
        blobs,
        blob_ids,
        root: written.root,
    }
}

/// Options with chunks of 4 KiB and one thread.
pub fn small_chunks() -> BuildOptions {
    BuildOptions {
        chunk_size: 4096,
        threads: 1,
        ..BuildOptions::default()
    }
}

/// A tree with one of everything that needs no device nodes.
pub fn small_tree(root: &Path) {
    fs::create_dir_all(root.join("dir/empty")).unwrap();
    fs::write(root.join("dir/file"), b"some bytes").unwrap();
    fs::write(root.join("dir/nothing"), b"").unwrap();
    fs::write(root.join("chunks"), noise(10_000)).unwrap();
    fs::hard_link(root.join("dir/file"), root.join("other name")).unwrap();
    symlink("dir/file", root.join("link")).unwrap();
    fs::hard_link(root.join("link"), root.join("dir/same link")).unwrap();
    fs::set_permissions(root.join("dir/file"), fs::Permissions::from_mode(0o4711)).unwrap();
    let fifo = root.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .unwrap();
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(root.join("chunks"), "user.first", b"1", none).unwrap();
    rustix::fs::lsetxattr(root.join("chunks"), "user.second", b"two", none).unwrap();
}

/// Bytes that do not compress and are the same each time.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// What an image says of one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub attr: Attr,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub target: Option<Vec<u8>>,
    pub chunks: Vec<Chunk>,
}

/// Attributes, xattrs, link target, and chunks by digest and length.
pub type Visible<'a> = (
    Attr,
    &'a [(Vec<u8>, Vec<u8>)],
    Option<&'a [u8]>,
    Vec<(Digest, u32)>,
);

impl Seen {
    /// What users can see: chunks by digest and length, wherever they lie.
    pub fn visible(&self) -> Visible<'_> {
        let chunks = self
            .chunks
            .iter()
            .map(|chunk| (chunk.digest, chunk.len))
            .collect();
        (self.attr, &self.xattrs, self.target.as_deref(), chunks)
    }
}

/// Everything that can be seen of an image, by path, and the number of faults.
pub fn look(image: &Image) -> (BTreeMap<Vec<u8>, Seen>, usize) {
    let mut found = BTreeMap::new();
    let mut faults = 0;
    walk::walk(image, &mut |step| {
        match step {
            Step::Node(path, node) => match see(image, node) {
                Some(seen) => {
                    found.insert(path.to_vec(), seen);
                }
                None => faults += 1,
            },
            Step::Fault(..) => faults += 1,
        }
        true
    });
    (found, faults)
}

/// What an image says of a node; none if its chunk list cannot be proved.
pub fn see(image: &Image, node: &Arc<Node>) -> Option<Seen> {
    let mut chunks = Vec::new();
    if let Content::File(file) = &node.content {
        while (chunks.len() as u64) < file.chunks() {
            let group = image
                .chunk_group(file, node.attr.size, chunks.len() as u64)
                .ok()?;
            chunks.extend_from_slice(&group.chunks);
        }
    }
    let target = match &node.content {
        Content::Symlink(target) => Some(target.to_vec()),
        _ => None,
    };
    Some(Seen {
        attr: node.attr,
        xattrs: node.xattrs.clone(),
        target,
        chunks,
    })
}
