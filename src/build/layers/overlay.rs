//! A tree under which layers are laid, lowest first.
//!
//! Reference of behaviour: `layer.md` of the OCI image specification, and what
//! `umoci unpack` makes of a layer: parents are found through the symbolic
//! links of the tree as it is then, never outside of it.

use std::collections::{BTreeMap, HashMap};

use super::changes::{Whiteout, is_aufs, split};
use crate::build::source::{EntryProblem, shown};
use crate::build::tree::{Content, Meta, Node, NodeIndex, Tree};

/// Symbolic links on the way to one entry.
const LINKS_MAX: usize = 255;

type Names = BTreeMap<Box<[u8]>, NodeIndex>;

/// A tree that changes. Nodes that lost their last name stay until the end.
pub(super) struct Overlay {
    nodes: Vec<Node>,
    /// The entries of each node that is a directory.
    names: Vec<Names>,
    /// What the current layer took away: hard links of that layer may still
    /// lead there.
    hidden: HashMap<(NodeIndex, Box<[u8]>), NodeIndex>,
    /// The directory of the last entry: its path without symbolic links, and
    /// its node.
    last: Option<(Vec<u8>, NodeIndex)>,
}

/// What to do where a directory is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// Make it, with mode 0755, owner 0:0 and time 0.
    Make,
    /// Give up.
    None,
    /// Look among what the current layer took away.
    Hidden,
}

impl Overlay {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![implied_directory()],
            names: vec![Names::new()],
            hidden: HashMap::new(),
            last: None,
        }
    }

    /// Starts a layer: takes away what its whiteouts name, wherever they stand
    /// in the layer.
    pub(super) fn begin(&mut self, whiteouts: &[Whiteout]) -> Result<(), EntryProblem> {
        for whiteout in whiteouts {
            match whiteout {
                Whiteout::Path(path) => {
                    let (above, name) = split(path);
                    if let Some(directory) = self.directory(above, Missing::None)? {
                        self.hide(directory, name);
                    }
                }
                Whiteout::Content(path) => {
                    if let Some(directory) = self.directory(path, Missing::None)? {
                        for (name, node) in std::mem::take(&mut self.names[directory]) {
                            self.hidden.insert((directory, name), node);
                        }
                    }
                }
            }
        }
        self.last = None;
        Ok(())
    }

    /// Ends a layer.
    pub(super) fn end(&mut self) {
        self.hidden = HashMap::new();
        self.last = None;
        self.names[0].retain(|name, _| !is_aufs(name));
    }

    /// Adds an entry, or replaces the one of that name. A directory over a
    /// directory changes its attributes only.
    pub(super) fn insert(&mut self, path: &[u8], node: Node) -> Result<(), EntryProblem> {
        let is_directory = matches!(node.content, Content::Directory(_));
        if path.is_empty() {
            if !is_directory {
                return Err(EntryProblem::Root);
            }
            self.nodes[0] = node;
            return Ok(());
        }
        let (directory, name) = self.place(path)?;
        match self.names[directory].get(name) {
            Some(&old) if is_directory && self.is_directory(old) => self.nodes[old] = node,
            _ => {
                let index = self.push(node);
                self.put(directory, name, index);
            }
        }
        Ok(())
    }

    /// Adds a further name of what stands at `target`.
    pub(super) fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), EntryProblem> {
        let node = match self.find(target, Missing::None)? {
            None => self.find(target, Missing::Hidden)?,
            found => found,
        };
        let node = node.ok_or_else(|| EntryProblem::LinkTargetMissing(shown(target)))?;
        if self.is_directory(node) {
            return Err(EntryProblem::LinkToDirectory(shown(target)));
        }
        if path.is_empty() {
            return Err(EntryProblem::Root);
        }
        let (directory, name) = self.place(path)?;
        self.put(directory, name, node);
        Ok(())
    }

    /// The tree of what can be reached from the root.
    pub(super) fn finish(mut self) -> Tree {
        let mut tree = Tree::default();
        let mut moved: Vec<Option<NodeIndex>> = vec![None; self.nodes.len()];
        let mut take = |nodes: &mut Vec<Node>, old: NodeIndex| {
            let node = std::mem::replace(&mut nodes[old], implied_directory());
            tree.nodes.push(node);
            tree.nodes.len() - 1
        };
        let mut lists = Vec::new();
        moved[0] = Some(take(&mut self.nodes, 0));
        let mut stack = vec![(0, 0)];
        while let Some((old, new)) = stack.pop() {
            let names = std::mem::take(&mut self.names[old]);
            let mut list = Vec::with_capacity(names.len());
            for (name, child) in names {
                let index = match moved[child] {
                    Some(index) => index,
                    None => {
                        let is_directory = self.is_directory(child);
                        let index = take(&mut self.nodes, child);
                        moved[child] = Some(index);
                        if is_directory {
                            stack.push((child, index));
                        }
                        index
                    }
                };
                list.push((name, index));
            }
            lists.push((new, list));
        }
        for (node, list) in lists {
            tree.nodes[node].content = Content::Directory(list);
        }
        tree
    }

    /// The node at `path`; a symbolic link at its end is not followed.
    fn find(&mut self, path: &[u8], missing: Missing) -> Result<Option<NodeIndex>, EntryProblem> {
        let (above, name) = split(path);
        let Some(directory) = self.directory(above, missing)? else {
            return Ok(None);
        };
        if name.is_empty() {
            return Ok(Some(directory));
        }
        Ok(self.child(directory, name, missing))
    }

    fn child(&self, directory: NodeIndex, name: &[u8], missing: Missing) -> Option<NodeIndex> {
        let found = self.names[directory].get(name).copied();
        if found.is_none() && missing == Missing::Hidden {
            return self.hidden.get(&(directory, name.into())).copied();
        }
        found
    }

    /// Directory and name of a new entry; its parents are made.
    fn place<'p>(&mut self, path: &'p [u8]) -> Result<(NodeIndex, &'p [u8]), EntryProblem> {
        let (above, name) = split(path);
        if let Some((last, node)) = &self.last
            && last == above
        {
            return Ok((*node, name));
        }
        let directory = self.directory(above, Missing::Make)?.unwrap_or_default();
        self.last = Some((above.to_vec(), directory));
        Ok((directory, name))
    }

    /// The directory at `path`, whose symbolic links are followed inside the
    /// tree.
    fn directory(
        &mut self,
        path: &[u8],
        missing: Missing,
    ) -> Result<Option<NodeIndex>, EntryProblem> {
        let mut way = vec![0];
        let mut rest = reversed(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            let at = way.last().copied().unwrap_or_default();
            if *name == *b".." {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let next = match self.child(at, &name, missing) {
                Some(next) => next,
                None if missing == Missing::Make => self.make(at, &name),
                None => return Ok(None),
            };
            match &self.nodes[next].content {
                Content::Directory(_) => way.push(next),
                Content::Symlink(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(EntryProblem::Loop(shown(path)));
                    }
                    if target.starts_with(b"/") {
                        way.truncate(1);
                    }
                    rest.extend(reversed(target));
                }
                // What is no directory gives way, as it does to an entry.
                _ if missing == Missing::Make => {
                    let next = self.make(at, &name);
                    way.push(next);
                }
                _ => return Ok(None),
            }
        }
        Ok(way.last().copied())
    }

    fn make(&mut self, directory: NodeIndex, name: &[u8]) -> NodeIndex {
        let index = self.push(implied_directory());
        self.put(directory, name, index);
        index
    }

    /// Puts a node at a name. What was there may have been on the way to the
    /// last directory.
    fn put(&mut self, directory: NodeIndex, name: &[u8], node: NodeIndex) {
        let old = self.names[directory].insert(name.into(), node);
        if old.is_some_and(|old| self.leads_on(old)) || self.leads_on(node) {
            self.last = None;
        }
    }

    fn hide(&mut self, directory: NodeIndex, name: &[u8]) {
        if let Some((name, node)) = self.names[directory].remove_entry(name) {
            self.hidden.insert((directory, name), node);
        }
    }

    fn leads_on(&self, node: NodeIndex) -> bool {
        let content = &self.nodes[node].content;
        matches!(content, Content::Directory(_) | Content::Symlink(_))
    }

    fn push(&mut self, node: Node) -> NodeIndex {
        self.nodes.push(node);
        self.names.push(Names::new());
        self.nodes.len() - 1
    }

    fn is_directory(&self, node: NodeIndex) -> bool {
        matches!(self.nodes[node].content, Content::Directory(_))
    }
}

/// The names of a path, last first, without dots.
fn reversed(path: &[u8]) -> Vec<Box<[u8]>> {
    path.rsplit(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
        .map(Box::from)
        .collect()
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
