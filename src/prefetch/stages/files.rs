//! The chunks of some files, and of all files below some directories.

use std::collections::HashSet;
use std::sync::Arc;

use super::{BATCH, Stage};
use crate::chunk::Chunk;
use crate::image::{Content, FileType, Image, ImageError, Node, NodeRef};

/// Chunks of files and trees.
pub(in crate::prefetch) struct Files {
    image: Arc<Image>,
    /// Nodes to go to; the next is the last.
    stack: Vec<NodeRef>,
    /// A file, and the next of its chunks.
    file: Option<(Arc<Node>, u64)>,
    entered: HashSet<u64>,
    faults: u64,
}

impl Files {
    /// The chunks of these nodes, in order.
    pub(in crate::prefetch) fn new(image: Arc<Image>, mut nodes: Vec<NodeRef>) -> Self {
        nodes.reverse();
        Self {
            image,
            stack: nodes,
            file: None,
            entered: HashSet::new(),
            faults: 0,
        }
    }

    fn step(&mut self, out: &mut Vec<Chunk>) -> Result<bool, ImageError> {
        if let Some((node, position)) = self.file.take() {
            if let Content::File(file) = &node.content
                && position < file.chunks()
            {
                let group = self.image.chunk_group(file, node.attr.size, position)?;
                out.extend_from_slice(&group.chunks);
                let next = group.start + group.chunks.len() as u64;
                // A group that leads back would go on for ever.
                if next > position {
                    self.file = Some((node, next));
                }
            }
            return Ok(true);
        }
        let Some(next) = self.stack.pop() else {
            return Ok(false);
        };
        let node = self.image.node(&next)?;
        match &node.content {
            // Each node once, or a hostile image could lead in circles, or to one
            // large file by many names.
            Content::File(_) if self.entered.insert(node.nid) => self.file = Some((node, 0)),
            Content::Directory(_) if self.entered.insert(node.nid) => self.enter(&node)?,
            Content::File(_) | Content::Directory(_) | Content::Symlink(_) | Content::Special => {}
        }
        Ok(true)
    }

    fn enter(&mut self, node: &Node) -> Result<(), ImageError> {
        let Content::Directory(directory) = &node.content else {
            return Ok(());
        };
        let first = self.stack.len();
        for number in 0..directory.groups() {
            let group = self.image.group(directory, number)?;
            let mut position = 0;
            while let Some((_, entry)) = group.get(position) {
                position += 1;
                if matches!(entry.file_type, FileType::Regular | FileType::Directory) {
                    self.stack.push(self.image.resolve(entry)?);
                }
            }
        }
        if let Some(children) = self.stack.get_mut(first..) {
            children.reverse();
        }
        Ok(())
    }
}

impl Stage for Files {
    fn more(&mut self, out: &mut Vec<Chunk>) -> bool {
        let end = out.len() + BATCH;
        // Of a tree of empty files the caller hears now and then, too.
        for _ in 0..BATCH {
            if out.len() >= end {
                break;
            }
            match self.step(out) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    if self.faults == 0 {
                        log::warn!("Prefetch leaves out what cannot be looked up: {error}");
                    }
                    self.faults += 1;
                }
            }
        }
        true
    }

    fn faults(&self) -> u64 {
        self.faults
    }
}
