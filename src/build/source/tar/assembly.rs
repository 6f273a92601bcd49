//! Puts entries that come in any order together to a tree.

use std::collections::BTreeMap;

use super::super::shown;
use super::problem::EntryProblem;
use crate::build::tree::{Content, Meta, Node, NodeIndex, Tree};

/// Longest name of a directory entry, in bytes.
const NAME_LIMIT: usize = 255;

/// A tree that grows. Nodes that lost their last name stay until the end.
pub(super) struct Assembly {
    nodes: Vec<Node>,
    /// The entries of each node that is a directory.
    entries: Vec<BTreeMap<Box<[u8]>, NodeIndex>>,
}

impl Assembly {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![implied_directory()],
            entries: vec![BTreeMap::new()],
        }
    }

    /// Adds an entry, or replaces the one of that name. A directory over a
    /// directory changes its attributes only.
    pub(super) fn insert(&mut self, path: &[u8], node: Node) -> Result<(), EntryProblem> {
        let names = components(path)?;
        let is_directory = matches!(node.content, Content::Directory(_));
        let Some((name, parents)) = names.split_last() else {
            if !is_directory {
                return Err(EntryProblem::Root);
            }
            self.nodes[0] = node;
            return Ok(());
        };
        let parent = self.parent(parents)?;
        match self.entries[parent].get(*name) {
            Some(old) if is_directory && self.is_directory(*old) => {
                let old = *old;
                self.nodes[old] = node;
            }
            _ => {
                let index = self.push(node);
                self.entries[parent].insert((*name).into(), index);
            }
        }
        Ok(())
    }

    /// Adds a further name of what stands at `target`.
    pub(super) fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), EntryProblem> {
        let mut at = 0;
        for name in components(target)? {
            let next = self.entries[at].get(name);
            at = *next.ok_or_else(|| EntryProblem::LinkTargetMissing(shown(target)))?;
        }
        if self.is_directory(at) {
            return Err(EntryProblem::LinkToDirectory(shown(target)));
        }
        let names = components(path)?;
        let (name, parents) = names.split_last().ok_or(EntryProblem::Root)?;
        let parent = self.parent(parents)?;
        self.entries[parent].insert((*name).into(), at);
        Ok(())
    }

    /// The tree of what can be reached from the root.
    pub(super) fn finish(mut self) -> Tree {
        let mut tree = Tree::default();
        let mut moved = vec![None; self.nodes.len()];
        let mut stack = vec![0];
        moved[0] = Some(0);
        tree.nodes.push(self.nodes[0].clone());
        while let Some(old) = stack.pop() {
            let Some(new) = moved[old] else { continue };
            if !self.is_directory(old) {
                continue;
            }
            let entries = std::mem::take(&mut self.entries[old]);
            let mut list = Vec::with_capacity(entries.len());
            for (name, child) in entries {
                let index = *moved[child].get_or_insert_with(|| {
                    stack.push(child);
                    tree.nodes.push(self.nodes[child].clone());
                    tree.nodes.len() - 1
                });
                list.push((name, index));
            }
            tree.nodes[new].content = Content::Directory(list);
        }
        tree
    }

    /// The directory at `names`, made where it is missing.
    fn parent(&mut self, names: &[&[u8]]) -> Result<NodeIndex, EntryProblem> {
        let mut at = 0;
        for (depth, name) in names.iter().enumerate() {
            at = match self.entries[at].get(*name) {
                Some(next) => *next,
                None => {
                    let next = self.push(implied_directory());
                    self.entries[at].insert((*name).into(), next);
                    next
                }
            };
            if !self.is_directory(at) {
                let way = names.get(..=depth).unwrap_or(names).join(&b'/');
                return Err(EntryProblem::ParentIsNoDirectory(shown(&way)));
            }
        }
        Ok(at)
    }

    fn push(&mut self, node: Node) -> NodeIndex {
        self.nodes.push(node);
        self.entries.push(BTreeMap::new());
        self.nodes.len() - 1
    }

    fn is_directory(&self, at: NodeIndex) -> bool {
        matches!(self.nodes[at].content, Content::Directory(_))
    }
}

fn implied_directory() -> Node {
    Node {
        meta: Meta {
            mode: 0o755,
            ..Meta::default()
        },
        xattrs: Vec::new(),
        content: Content::Directory(Vec::new()),
    }
}

/// The names of a path, without `.` and empty ones.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, EntryProblem> {
    if path.is_empty() {
        return Err(EntryProblem::EmptyName);
    }
    if path.starts_with(b"/") {
        return Err(EntryProblem::Absolute(shown(path)));
    }
    if path.contains(&0) {
        return Err(EntryProblem::ZeroInName);
    }
    let names = path
        .split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."));
    let names: Vec<&[u8]> = names.collect();
    for name in &names {
        if *name == b".." {
            return Err(EntryProblem::DotDot(shown(path)));
        }
        if name.len() > NAME_LIMIT {
            return Err(EntryProblem::NameTooLong(name.len()));
        }
    }
    Ok(names)
}
