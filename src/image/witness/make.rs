//! Makes the proof of a path. What it reads was proved by the image's reader.

use crate::chunk::DigestAlgorithm;

use crate::image::group::{Entry, Group, Target};
use crate::image::list::List;
use crate::image::model::FileType;
use crate::image::proof::{self, FANOUT, LINK_BIT, Leaf, ListKind};
use crate::image::witness::WitnessError;
use crate::image::witness::document::{
    Attributes, Bytes, Canonical, ChunkDigest, Content, Document, Hash, Head, Mode, Node, Root,
    Step, Text, VERSION,
};
use crate::image::{self, Directory, Image, ImageError, NodeRef};
use crate::path_text::show;

/// The proof that the image's root digest covers the node at `path`, whose
/// leading, trailing and doubled slashes mean nothing. Links are not followed.
///
/// # Errors
/// When the image has no integrity section, there is no such path, or a step
/// cannot be read or proved.
pub fn prove(image: &Image, path: &[u8]) -> Result<Document, WitnessError> {
    let no_section = || ImageError::NoSection {
        path: image.path().to_owned(),
    };
    let root = image.root_digest().ok_or_else(no_section)?;
    let names: Vec<&[u8]> = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
        .collect();
    let (steps, last) = descend(image, &names)?;
    let (node, canonical) = match last {
        None => (image.root(), None),
        Some(entry) => {
            let path = image.canonical_path(&entry)?;
            let canonical = path.map(|path| {
                let names: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
                let (steps, _) = descend(image, &names)?;
                let path = Text([b"/", &path[..]].concat());
                Ok::<_, WitnessError>(Canonical { path, steps })
            });
            (image.resolve(&entry)?, canonical.transpose()?)
        }
    };
    let summary = image.summary();
    Ok(Document {
        version: VERSION,
        root: Root(root),
        image: Head {
            version: proof::VERSION,
            must_understand: image.must_understand(),
            chunk_size: summary.chunk_size,
            chunk_digest: match summary.algorithm {
                DigestAlgorithm::Blake3 => ChunkDigest::Blake3,
                DigestAlgorithm::Sha256 => ChunkDigest::Sha256,
            },
        },
        path: Text([b"/", &names.join(&b'/')[..]].concat()),
        steps,
        canonical,
        node: node_of(image, &node)?,
    })
}

/// The directories on the way along `names`, and the entry of the last.
fn descend(image: &Image, names: &[&[u8]]) -> Result<(Vec<Step>, Option<Entry>), WitnessError> {
    let missing = || WitnessError::NotFound {
        path: show(&names.join(&b'/')),
    };
    let (mut at, mut last) = (image.root(), None);
    let mut steps = Vec::with_capacity(names.len());
    for (position, name) in names.iter().enumerate() {
        let node = image.node(&at)?;
        let image::Content::Directory(directory) = &node.content else {
            return Err(missing());
        };
        let list = directory.entry_list().ok_or_else(missing)?;
        let (group, number) = group_of(image, directory, name)?.ok_or_else(missing)?;
        let found = group.search(name).ok().and_then(|found| group.get(found));
        let (_, entry) = found.ok_or_else(missing)?;
        if position + 1 < names.len() {
            at = image.resolve(entry)?;
        }
        last = Some(*entry);
        let levels = list.siblings(image.tree.bootstrap(), number)?;
        steps.push(Step {
            attributes: attributes(&node),
            list: list.head.into(),
            group: number,
            entries: entries(&group).collect(),
            siblings: levels
                .into_iter()
                .map(|level| level.into_iter().map(Hash).collect())
                .collect(),
        });
    }
    Ok((steps, last))
}

/// The group that has `name`, and its number.
fn group_of(
    image: &Image,
    directory: &Directory,
    name: &[u8],
) -> Result<Option<(std::sync::Arc<Group>, u64)>, ImageError> {
    let (mut low, mut high) = (0, directory.groups());
    while low < high {
        let middle = low + (high - low) / 2;
        let group = image.group(directory, middle)?;
        match group.search(name) {
            Ok(_) => return Ok(Some((group, middle))),
            Err(0) => high = middle,
            Err(_) => low = middle + 1,
        }
    }
    Ok(None)
}

/// The entries of a group as a leaf has them.
fn entries(group: &Group) -> impl Iterator<Item = (Text, u8, Hash)> {
    let all = (0..group.len()).filter_map(|position| group.get(position));
    all.map(|(name, entry)| {
        let (kind, digest) = item(entry);
        (Text(name.to_vec()), kind, Hash(digest))
    })
}

/// Type byte and digest of an entry's item.
fn item(entry: &Entry) -> (u8, crate::chunk::Digest) {
    let kind = entry.file_type.code();
    match entry.target {
        Target::Node(node) => {
            let digest = node.proof.map(|proof| proof.digest);
            (kind, digest.unwrap_or_default())
        }
        Target::Link { digest, .. } => (kind | LINK_BIT, digest),
    }
}

fn attributes(node: &image::Node) -> Attributes {
    let attr = &node.attr;
    let xattrs = node.xattrs.iter();
    Attributes {
        mode: Mode(attr.mode),
        uid: attr.uid,
        gid: attr.gid,
        mtime: attr.mtime,
        mtime_ns: attr.mtime_ns,
        xattrs: xattrs
            .map(|(name, value)| (Text(name.clone()), Bytes(value.clone())))
            .collect(),
    }
}

/// A node with what it holds.
fn node_of(image: &Image, at: &NodeRef) -> Result<Node, WitnessError> {
    let node = image.node(at)?;
    let (nlink, rdev) = (node.attr.nlink, node.attr.rdev);
    let content = match &node.content {
        image::Content::File(file) => {
            let mut chunks = Vec::new();
            while (chunks.len() as u64) < file.chunks() {
                let group = image.chunk_group(file, node.attr.size, chunks.len() as u64)?;
                chunks.extend(group.chunks.iter().map(|chunk| Hash(chunk.digest)));
            }
            Content::File {
                nlink,
                size: node.attr.size,
                chunks,
            }
        }
        image::Content::Directory(directory) => {
            let unproved = || image.contradiction(node.nid);
            let list = directory.entry_list().ok_or_else(unproved)?;
            Content::Directory {
                list: list.head.into(),
                top: Hash(top(image, directory, list)?),
            }
        }
        image::Content::Symlink(target) => Content::Symlink {
            nlink,
            target: Text(target.to_vec()),
        },
        image::Content::Special => match node.attr.file_type {
            FileType::CharDevice => Content::CharDevice { nlink, rdev },
            FileType::BlockDevice => Content::BlockDevice { nlink, rdev },
            FileType::Fifo => Content::Fifo { nlink },
            _ => Content::Socket { nlink },
        },
    };
    Ok(Node {
        attributes: attributes(&node),
        content,
    })
}

/// The hash at the top of an entry list.
fn top(
    image: &Image,
    directory: &Directory,
    list: &List,
) -> Result<crate::chunk::Digest, ImageError> {
    if list.head.count > FANOUT as u64 {
        return List::stored_top(image.tree.bootstrap(), list.kind, list.head, list.levels);
    }
    if list.head.count == 0 {
        return Ok(crate::chunk::Digest::default());
    }
    let group = image.group(directory, 0)?;
    let mut leaf = Leaf::new(ListKind::Entries);
    for (name, kind, digest) in entries(&group) {
        leaf.entry(&name.0, kind, &digest.0);
    }
    Ok(leaf.take())
}
