//! Nodes: loads each and proves it against the digest that its entry gives.

use crate::chunk::Digest;
use crate::image::content::{Content, Directory, File};
use crate::image::directory::Blocks;
use crate::image::error::ImageError;
use crate::image::metadata::Metadata;
use crate::image::model::{Attr, FileType, NodeRef, TARGET_MAX};
use crate::image::proof::{self, ContentDigest};
use crate::image::rafs::inode::{Inode, Layout};
use crate::image::rafs::{BLOCK, SLOT, xattr};

/// Bytes read at once for an inode: enough for most with xattrs and tail.
const GUESS: usize = 512;

/// A node that was loaded and, as far as the image's digests go, proved.
#[derive(Debug)]
pub struct Node {
    /// Node number.
    pub nid: u64,
    /// The digest that was proved; none without a section.
    pub digest: Option<Digest>,
    /// Attributes.
    pub attr: Attr,
    /// Extended attributes: full names and values, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the node holds.
    pub content: Content,
}

impl Node {
    /// The value of an extended attribute.
    pub fn xattr(&self, name: &[u8]) -> Option<&[u8]> {
        let found = self
            .xattrs
            .binary_search_by(|(have, _)| have.as_slice().cmp(name))
            .ok()?;
        self.xattrs.get(found).map(|(_, value)| value.as_slice())
    }
}

impl Metadata {
    /// Loads the node behind a reference and proves it.
    ///
    /// # Errors
    /// When it cannot be read, breaks the format, or is not what its digest
    /// says.
    pub(crate) fn load(&self, node: &NodeRef) -> Result<Node, ImageError> {
        let nid = node.nid;
        let meta = u64::from(self.superblock.meta_block) * self.superblock.block();
        let at = nid
            .checked_mul(SLOT)
            .and_then(|offset| offset.checked_add(meta))
            .ok_or_else(|| {
                let reason = format!("inode number {nid} is past the end");
                self.bootstrap.damaged(reason)
            })?;
        let damaged = |reason: String| {
            let reason = format!("{reason} (inode {nid} at offset {at:#x})");
            self.bootstrap.damaged(reason)
        };
        let mut guess = [0; GUESS];
        let got = self.bootstrap.read_some(at, &mut guess)?;
        let guess = guess.get(..got).unwrap_or_default();
        let inode = Inode::parse(guess).map_err(damaged)?;
        let mut attr = inode.attr;
        if !self.superblock.explicit_owner && node.proof.is_none() {
            attr.uid = rustix::process::geteuid().as_raw();
            attr.gid = rustix::process::getegid().as_raw();
        }

        let tail = at.saturating_add(inode.tail() as u64);
        let xattrs = match guess.get(inode.len..inode.tail()) {
            Some(area) => xattr::parse(area),
            None => {
                let area = self
                    .bootstrap
                    .read(at + inode.len as u64, inode.xattr_len)?;
                xattr::parse(&area)
            }
        }
        .map_err(damaged)?;
        let blocks = Blocks {
            size: attr.size,
            start: u64::from(inode.start) * self.superblock.block(),
            tail: (inode.layout == Layout::Inline).then_some(tail),
            block: self.superblock.block(),
        };

        let target;
        let list;
        let (content, content_digest) = match attr.file_type {
            FileType::Regular => {
                let (file, digest) = self.load_file(node, attr.size, tail.next_multiple_of(8))?;
                list = digest;
                (Content::File(File::Erofs(file)), ContentDigest::File(&list))
            }
            FileType::Directory => {
                let (directory, head, digest) = self.load_directory(node, blocks)?;
                if node.proof.is_some() {
                    // Neither is on disk a proved number; both follow from the
                    // proved head of the entry list.
                    attr.nlink =
                        u32::try_from(head.directories.saturating_add(2)).unwrap_or(u32::MAX);
                    let bytes = head
                        .count
                        .saturating_mul(12)
                        .saturating_add(head.name_bytes);
                    attr.size = bytes.saturating_add(BLOCK) / BLOCK * BLOCK;
                }
                list = digest;
                (
                    Content::Directory(Directory::Erofs(directory)),
                    ContentDigest::Directory(&list),
                )
            }
            FileType::Symlink => {
                let len = usize::try_from(attr.size).unwrap_or(usize::MAX);
                if len == 0 || len > TARGET_MAX {
                    return Err(damaged(format!("a link target of {len} bytes")));
                }
                target = match (blocks.tail, guess.get(inode.tail()..inode.tail() + len)) {
                    (Some(_), Some(inline)) => inline.to_vec(),
                    (Some(tail), None) => self.bootstrap.read(tail, len)?,
                    (None, _) => self.bootstrap.read(blocks.start, len)?,
                };
                (
                    Content::Symlink(target.clone().into()),
                    ContentDigest::Symlink(&target),
                )
            }
            _ => {
                attr.size = 0;
                (Content::Special, ContentDigest::Nothing)
            }
        };
        if let Some(proof) = node.proof {
            let xattrs = xattrs
                .iter()
                .map(|(name, value)| (name.as_slice(), value.as_slice()));
            if proof::node_digest(&attr, xattrs, content_digest) != proof.digest {
                return Err(self.bootstrap.unproved(format!("inode {nid}")));
            }
        }
        Ok(Node {
            nid,
            digest: node.proof.map(|proof| proof.digest),
            attr,
            xattrs,
            content,
        })
    }
}
