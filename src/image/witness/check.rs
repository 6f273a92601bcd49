//! Recomputes the root digest from a proof. A function of the document alone:
//! it believes nothing and reads no image.

use crate::chunk::{CHUNK_SIZE_RANGE, Digest, DigestAlgorithm};
use crate::image::model::{Attr, FileType};
use crate::image::proof::{self, ContentDigest, FANOUT, LINK_BIT, Leaf, ListHead, ListKind};
use crate::image::section::KNOWN_BITS;
use crate::image::witness::document::{
    Attributes, ChunkDigest, Content, Document, Hash, Head, Node, Step, VERSION,
};
use crate::image::witness::{WitnessError, wrong};

/// What a proof proved.
#[derive(Debug)]
pub struct Proved {
    /// The root digest that it leads to.
    pub root: Digest,
    /// The path, without a slash at its start; empty for the root directory.
    pub path: Vec<u8>,
    /// The node under it.
    pub node: Node,
    /// Bytes of every chunk but a file's last.
    pub chunk_size: u32,
    /// Algorithm of the chunks' digests.
    pub algorithm: DigestAlgorithm,
}

/// Checks the proof in `json`: every hash from the node to the root digest, and
/// that this is `pinned`, if that is given.
///
/// # Errors
/// When the text is no proof, contradicts itself, or leads to another root.
pub fn check(json: &[u8], pinned: Option<Digest>) -> Result<Proved, WitnessError> {
    let document: Document = match serde_json::from_slice(json) {
        Ok(document) => document,
        Err(error) => return Err(other_version(json).unwrap_or(WitnessError::Form(error))),
    };
    if document.version != VERSION {
        return Err(WitnessError::Version(document.version));
    }
    let root = recompute(&document)?;
    for (wanted, by) in [
        (Some(document.root.0), "it claims"),
        (pinned, "the one to compare with is"),
    ] {
        if let Some(wanted) = wanted
            && wanted != root
        {
            let found = root;
            return Err(WitnessError::Root { found, wanted, by });
        }
    }
    Ok(Proved {
        root,
        path: inner_path(&document.path.0, "path")?.to_vec(),
        node: document.node,
        chunk_size: document.image.chunk_size,
        algorithm: algorithm(&document.image),
    })
}

/// A document of another version may have another form too.
fn other_version(json: &[u8]) -> Option<WitnessError> {
    #[derive(serde::Deserialize)]
    struct Version {
        #[serde(rename = "tidegate-proof")]
        version: u32,
    }
    let found: Version = serde_json::from_slice(json).ok()?;
    (found.version != VERSION).then_some(WitnessError::Version(found.version))
}

/// The root digest that a document leads to.
fn recompute(document: &Document) -> Result<Digest, WitnessError> {
    let head = &document.image;
    let size = head.chunk_size;
    if head.version != proof::VERSION || head.must_understand & !KNOWN_BITS != 0 {
        return Err(wrong(
            "image",
            "a version or must-understand bits that this Tidegate does not know; update it",
        ));
    }
    if !size.is_power_of_two() || !CHUNK_SIZE_RANGE.contains(&size) {
        return Err(wrong("image.chunk_size", "not a chunk size"));
    }
    let kind = document.node.content.file_type();
    let node = node_digest(&document.node, size)?;
    let path = inner_path(&document.path.0, "path")?;
    let top = match &document.canonical {
        None => climb(&document.steps, path, (kind.code(), node), "steps")?,
        Some(canonical) => {
            let place = "canonical.path";
            let name = inner_path(&canonical.path.0, place)?;
            if kind == FileType::Directory || name.is_empty() || name >= path {
                return Err(wrong(place, "not the first name of a node with several"));
            }
            let first = (kind.code(), node);
            let first = climb(&canonical.steps, name, first, "canonical.steps")?;
            let later = (kind.code() | LINK_BIT, proof::link_digest(name));
            let later = climb(&document.steps, path, later, "steps")?;
            if first != later {
                return Err(wrong("canonical", "it leads to another root directory"));
            }
            later
        }
    };
    Ok(proof::root_digest(
        head.version,
        head.must_understand,
        size,
        algorithm(head),
        &top,
    ))
}

fn algorithm(head: &Head) -> DigestAlgorithm {
    match head.chunk_digest {
        ChunkDigest::Blake3 => DigestAlgorithm::Blake3,
        ChunkDigest::Sha256 => DigestAlgorithm::Sha256,
    }
}

/// A path without the slash at its start.
fn inner_path<'a>(path: &'a [u8], place: &str) -> Result<&'a [u8], WitnessError> {
    let inner = path.strip_prefix(b"/");
    let inner = inner.ok_or_else(|| wrong(place, "no slash at its start"))?;
    let odd = |name: &[u8]| matches!(name, b"" | b"." | b"..");
    if !inner.is_empty() && inner.split(|&byte| byte == b'/').any(odd) {
        return Err(wrong(place, "an empty name, a dot or two dots"));
    }
    Ok(inner)
}

/// From what the last name of `path` leads to (type byte and digest), upwards
/// through the directories to the digest of the root directory's node.
fn climb(
    steps: &[Step],
    path: &[u8],
    target: (u8, Digest),
    place: &str,
) -> Result<Digest, WitnessError> {
    let names: Vec<&[u8]> = match path {
        b"" => Vec::new(),
        path => path.split(|&byte| byte == b'/').collect(),
    };
    if names.len() != steps.len() {
        let reason = format!("{} directories for {} names", steps.len(), names.len());
        return Err(wrong(place, reason));
    }
    let mut target = target;
    for (number, (name, step)) in names.iter().zip(steps).enumerate().rev() {
        let wrong = |reason: &str| wrong(format!("{place}[{number}]"), reason);
        let found = step.entries.iter().find(|(entry, ..)| entry.0 == *name);
        let (_, kind, digest) = found.ok_or_else(|| wrong("no entry of the path's name"))?;
        if (*kind, digest.0) != target {
            return Err(wrong("the entry of the path's name has another digest"));
        }
        let list = list_digest(step).map_err(|reason| wrong(&reason))?;
        let attr = attr(&step.attributes, FileType::Directory);
        let digest =
            node(&step.attributes, &attr, ContentDigest::Directory(&list)).map_err(wrong)?;
        target = (FileType::Directory.code(), digest);
    }
    Ok(target.1)
}

/// Digest of the entry list of which a step shows one group.
fn list_digest(step: &Step) -> Result<Digest, String> {
    let fanout = FANOUT as u64;
    let (head, kind) = (ListHead::from(step.list), ListKind::Entries);
    let start = step.group.checked_mul(fanout);
    let behind = start.and_then(|start| head.count.checked_sub(start));
    let wanted = behind.unwrap_or(0).min(fanout);
    if wanted == 0 || step.entries.len() as u64 != wanted {
        let found = step.entries.len();
        return Err(format!("{found} entries in a group of {wanted}"));
    }
    if !step.entries.is_sorted_by(|one, two| one.0.0 < two.0.0) {
        return Err("the entries are out of order".to_owned());
    }
    let mut leaf = Leaf::new(kind);
    for (name, kind, digest) in &step.entries {
        leaf.entry(&name.0, *kind, &digest.0);
    }
    let (mut hash, mut position) = (leaf.take(), step.group);
    let levels = proof::level_lengths(head.count);
    if levels.len() != step.siblings.len() {
        let (wanted, found) = (levels.len(), step.siblings.len());
        return Err(format!("{found} levels of siblings, not {wanted}"));
    }
    for (width, siblings) in levels.into_iter().zip(&step.siblings) {
        let own = position % fanout;
        let wanted = width.saturating_sub(position - own).min(fanout);
        if siblings.len() as u64 + 1 != wanted {
            return Err("a level has another number of siblings".to_owned());
        }
        let (before, after) = usize::try_from(own)
            .ok()
            .and_then(|own| siblings.split_at_checked(own))
            .ok_or("a level has too few siblings")?;
        let hashes: Vec<u8> = before
            .iter()
            .chain([&Hash(hash)])
            .chain(after)
            .flat_map(|hash| hash.0.0)
            .collect();
        hash = proof::inner_digest(kind, &hashes);
        position /= fanout;
    }
    Ok(proof::list_digest(kind, &head, &hash))
}

/// Digest of the node that the proof is of.
fn node_digest(document: &Node, chunk_size: u32) -> Result<Digest, WitnessError> {
    let wrong = |reason: String| wrong("node", reason);
    let (attributes, content) = (&document.attributes, &document.content);
    let mut attr = attr(attributes, content.file_type());
    let list;
    let content = match content {
        Content::File {
            nlink,
            size,
            chunks,
        } => {
            (attr.nlink, attr.size) = (*nlink, *size);
            list = chunks_digest(*size, chunks, chunk_size).map_err(wrong)?;
            ContentDigest::File(&list)
        }
        Content::Directory { list: counts, top } => {
            let head = ListHead::from(*counts);
            list = proof::list_digest(ListKind::Entries, &head, &top.0);
            ContentDigest::Directory(&list)
        }
        Content::Symlink { nlink, target } => {
            attr.nlink = *nlink;
            ContentDigest::Symlink(&target.0)
        }
        Content::CharDevice { nlink, rdev } | Content::BlockDevice { nlink, rdev } => {
            (attr.nlink, attr.rdev) = (*nlink, *rdev);
            ContentDigest::Nothing
        }
        Content::Fifo { nlink } | Content::Socket { nlink } => {
            attr.nlink = *nlink;
            ContentDigest::Nothing
        }
    };
    node(attributes, &attr, content).map_err(|reason| wrong(reason.to_owned()))
}

/// Digest of a file's chunk list; the lengths follow from the file's size.
fn chunks_digest(size: u64, chunks: &[Hash], chunk_size: u32) -> Result<Digest, String> {
    let (count, kind) = (size.div_ceil(u64::from(chunk_size)), ListKind::Chunks);
    if chunks.len() as u64 != count {
        let found = chunks.len();
        return Err(format!("{found} chunks for {size} bytes, not {count}"));
    }
    let mut rest = size;
    let mut leaves = Vec::with_capacity(chunks.len().div_ceil(FANOUT));
    for group in chunks.chunks(FANOUT) {
        let mut leaf = Leaf::new(kind);
        for chunk in group {
            let len = u32::try_from(rest).map_or(chunk_size, |rest| rest.min(chunk_size));
            rest = rest.saturating_sub(u64::from(len));
            leaf.chunk(&chunk.0, len);
        }
        leaves.push(leaf.take());
    }
    let head = ListHead {
        count,
        ..ListHead::default()
    };
    Ok(proof::build_list(kind, &head, &leaves).1)
}

fn attr(attributes: &Attributes, file_type: FileType) -> Attr {
    Attr {
        file_type,
        mode: attributes.mode.0,
        uid: attributes.uid,
        gid: attributes.gid,
        mtime: attributes.mtime,
        mtime_ns: attributes.mtime_ns,
        nlink: 0,
        rdev: 0,
        size: 0,
    }
}

fn node(
    attributes: &Attributes,
    attr: &Attr,
    content: ContentDigest<'_>,
) -> Result<Digest, &'static str> {
    let xattrs = &attributes.xattrs;
    if !xattrs.is_sorted_by(|one, two| one.0.0 < two.0.0) {
        return Err("the xattrs are out of order");
    }
    let xattrs = xattrs
        .iter()
        .map(|(name, value)| (&name.0[..], &value.0[..]));
    Ok(proof::node_digest(attr, xattrs, content))
}
