//! Loads nodes and proves each against the digest that its entry gives.

use std::sync::Arc;

use crate::chunk::Digest;
use crate::image::directory::Blocks;
use crate::image::error::ImageError;
use crate::image::model::{Content, FileType, Node, NodeRef, TARGET_MAX};
use crate::image::open::Image;
use crate::image::proof::{self, ContentDigest};
use crate::image::rafs::inode::{Inode, Layout};
use crate::image::rafs::{BLOCK, SLOT, xattr};

/// Bytes read at once for an inode: enough for most with xattrs and tail.
const GUESS: usize = 512;

impl Image {
    /// The node behind a reference: from memory, or loaded and proved.
    ///
    /// # Errors
    /// When it cannot be read, breaks the format, or is not what its digest
    /// says.
    pub fn node(&self, node: &NodeRef) -> Result<Arc<Node>, ImageError> {
        let key = (
            node.nid,
            node.proof.map_or(Digest::default(), |proof| proof.digest),
        );
        if let Some(found) = self.nodes.get(&key) {
            return Ok(found);
        }
        let loaded = Arc::new(self.load(node)?);
        self.nodes.insert(key, Arc::clone(&loaded));
        Ok(loaded)
    }

    /// The error for an entry whose type is not the node's.
    pub fn contradiction(&self, nid: u64) -> ImageError {
        self.bootstrap.unproved(format!("type of inode {nid}"))
    }

    fn load(&self, node: &NodeRef) -> Result<Node, ImageError> {
        let nid = node.nid;
        let damaged = |reason: String| self.bootstrap.damaged(format!("{reason} (inode {nid})"));
        let meta = u64::from(self.superblock.meta_block) * BLOCK;
        let at = nid
            .checked_mul(SLOT)
            .and_then(|offset| offset.checked_add(meta))
            .ok_or_else(|| damaged("a node number past the end".into()))?;
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
            start: u64::from(inode.start) * BLOCK,
            tail: (inode.layout == Layout::Inline).then_some(tail),
        };

        let target;
        let list;
        let (content, content_digest) = match attr.file_type {
            FileType::Regular => {
                let (file, digest) = self.load_file(node, attr.size, tail.next_multiple_of(8))?;
                list = digest;
                (Content::File(file), ContentDigest::File(&list))
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
                    Content::Directory(directory),
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
            attr,
            xattrs,
            content,
        })
    }
}
