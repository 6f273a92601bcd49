//! Nodes: loads each and proves its content against the digest in its record,
//! and that against the one that the directory above was proved with.

use crate::chunk::Digest;
use crate::image::content::{Content, Directory, File};
use crate::image::error::ImageError;
use crate::image::model::{FileType, NodeRef};
use crate::image::node::Node;
use crate::image::rafs5::inode::{self, Inode};
use crate::image::rafs5::{padded, xattr};
use crate::image::v5::V5;
use crate::image::v5::window::Window;

impl Inode {
    /// Offset of what follows the xattrs; none if they are longer than any.
    pub(super) fn chunks_at(&self, window: &mut Window<'_>) -> Result<Option<u64>, ImageError> {
        let at = self.at + self.xattrs_at() as u64;
        if !self.has_xattrs {
            return Ok(Some(at));
        }
        let head = window.some(at, xattr::HEAD)?;
        let len = xattr::pairs_len(head, at).ok();
        Ok(len.map(|len| at + (xattr::HEAD + padded(len)) as u64))
    }
}

impl V5 {
    /// The record of an inode.
    pub(super) fn inode(&self, window: &mut Window<'_>, index: u64) -> Result<Inode, ImageError> {
        let at = self.record_at(index)?;
        let bytes = window.some(at, inode::LEN)?;
        Inode::parse(bytes, at).map_err(|bad| self.bad(&bad))
    }

    /// Loads the node behind a reference and proves it.
    ///
    /// # Errors
    /// When it cannot be read, breaks the format, or is not what its digest
    /// says.
    pub(crate) fn load(&self, node: &NodeRef) -> Result<Node, ImageError> {
        let nid = node.nid;
        let mut window = Window::new(&self.bootstrap);
        let inode = self.inode(&mut window, nid)?;
        if inode.number != nid {
            let reason = format!(
                "Inode number at offset {:#x}: {}, not {nid}; only later names of a hard link \
                 have another's",
                inode.at + 40,
                inode.number
            );
            return Err(self.bootstrap.damaged(reason));
        }
        let what = || format!("inode {nid} (record at offset {:#x})", inode.at);
        if node.proof.is_some_and(|proof| proof.digest != inode.digest) {
            return Err(self.bootstrap.unproved(what()));
        }
        let (content, digest) = self.load_content(&mut window, &inode)?;
        if digest != inode.digest {
            return Err(self.bootstrap.unproved(what()));
        }
        let mut attr = inode.attr;
        if !self.superblock.explicit_owner {
            attr.uid = rustix::process::geteuid().as_raw();
            attr.gid = rustix::process::getegid().as_raw();
        }
        Ok(Node {
            nid,
            digest: None,
            attr,
            xattrs: self.xattrs(&mut window, &inode)?,
            content,
        })
    }

    /// Loads a node's content and computes its digest.
    fn load_content(
        &self,
        window: &mut Window<'_>,
        inode: &Inode,
    ) -> Result<(Content, Digest), ImageError> {
        Ok(match inode.attr.file_type {
            FileType::Regular => {
                let (file, digest) = self.load_file(window, inode)?;
                (Content::File(File::V5(file)), digest)
            }
            FileType::Directory => {
                let (directory, digest) = self.load_directory(window, inode)?;
                (Content::Directory(Directory::V5(directory)), digest)
            }
            FileType::Symlink => {
                let at = inode.at + inode.target_at() as u64;
                let target = window.exactly(at, inode.target_len)?;
                let digest = self.superblock.algorithm.digest(target);
                (Content::Symlink(target.into()), digest)
            }
            _ => (Content::Special, self.superblock.algorithm.digest(&[])),
        })
    }

    fn xattrs(&self, window: &mut Window<'_>, inode: &Inode) -> Result<xattr::Xattrs, ImageError> {
        if !inode.has_xattrs {
            return Ok(Vec::new());
        }
        let at = inode.at + inode.xattrs_at() as u64;
        let head = window.exactly(at, xattr::HEAD)?;
        let len = xattr::pairs_len(head, at).map_err(|bad| self.bad(&bad))?;
        let at = at + xattr::HEAD as u64;
        let pairs = window.exactly(at, len)?;
        xattr::parse(pairs, at).map_err(|bad| self.bad(&bad))
    }
}
