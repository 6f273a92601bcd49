//! The order in which nodes are laid out, their link counts and the canonical
//! names of hard links.

use std::collections::HashMap;

use crate::build::tree::{Content, NodeIndex, Tree};

/// The name by which a node with several names is proved: the smallest path by
/// bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Canonical {
    /// Path from the root, without a slash before the first component.
    pub(super) path: Vec<u8>,
    /// The directory that holds the name.
    pub(super) directory: NodeIndex,
    /// Position of the name in it.
    pub(super) position: usize,
}

/// What a walk over the tree tells.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Nodes in layout order, each once: a directory, then what it holds but
    /// directories, then its directories. A directory comes before all below.
    pub(super) nodes: Vec<NodeIndex>,
    /// Number of names of each node; for directories 2 plus child directories.
    pub(super) links: Vec<u32>,
    /// Parent of each directory; the root is its own.
    pub(super) parents: Vec<NodeIndex>,
    /// Nodes that are not directories and have several names.
    pub(super) canonical: HashMap<NodeIndex, Canonical>,
}

impl Order {
    /// Walks `tree` from its root.
    pub(super) fn of(tree: &Tree) -> Self {
        let count = tree.nodes.len();
        let mut order = Self {
            nodes: Vec::with_capacity(count),
            links: names_per_node(tree),
            parents: vec![0; count],
            canonical: HashMap::new(),
        };
        let mut seen = vec![false; count];
        let mut stack: Vec<(NodeIndex, Vec<u8>)> = vec![(0, Vec::new())];
        while let Some((directory, path)) = stack.pop() {
            order.nodes.push(directory);
            let Content::Directory(entries) = &tree.nodes[directory].content else {
                continue;
            };
            let mut below = Vec::new();
            for (position, (name, child)) in entries.iter().enumerate() {
                if matches!(tree.nodes[*child].content, Content::Directory(_)) {
                    order.parents[*child] = directory;
                    below.push((*child, join(&path, name)));
                    continue;
                }
                if order.links[*child] > 1 {
                    let path = join(&path, name);
                    order.offer(
                        *child,
                        Canonical {
                            path,
                            directory,
                            position,
                        },
                    );
                }
                if !std::mem::replace(&mut seen[*child], true) {
                    order.nodes.push(*child);
                }
            }
            stack.extend(below.into_iter().rev());
        }
        order
    }

    fn offer(&mut self, node: NodeIndex, name: Canonical) {
        match self.canonical.get(&node) {
            Some(have) if have.path <= name.path => {}
            _ => {
                self.canonical.insert(node, name);
            }
        }
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return name.to_vec();
    }
    [path, b"/", name].concat()
}

fn names_per_node(tree: &Tree) -> Vec<u32> {
    let mut links = vec![0u32; tree.nodes.len()];
    // Nodes that a later entry of an archive replaced are not reachable and do
    // not count.
    for index in tree.preorder() {
        let Content::Directory(entries) = &tree.nodes[index].content else {
            continue;
        };
        links[index] += 2;
        for (_, child) in entries {
            match tree.nodes[*child].content {
                Content::Directory(_) => links[index] += 1,
                _ => links[*child] += 1,
            }
        }
    }
    links
}
