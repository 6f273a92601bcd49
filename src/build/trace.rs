//! What a recorded trace means for the tree that is built.

use std::collections::HashSet;

use crate::build::tree::{Content, NodeIndex, Tree};
use crate::trace::Trace;

/// A trace in terms of a tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traced {
    /// The files, in the order of their first chunk.
    pub files: Vec<NodeIndex>,
    /// The chunks, in order: file and position in it.
    pub chunks: Vec<(NodeIndex, u64)>,
    /// Lines that name what the tree does not have.
    pub unknown: usize,
    /// The path of the first of them.
    pub first_unknown: Option<Vec<u8>>,
}

impl Traced {
    /// Finds the files of `trace` in `tree`, whose chunks will have
    /// `chunk_size` bytes.
    pub fn new(trace: &Trace, tree: &Tree, chunk_size: u32) -> Self {
        let mut traced = Self::default();
        let mut seen = HashSet::new();
        for line in &trace.lines {
            let found = tree.find(&line.path).and_then(|node| {
                let Content::File(file) = &tree.nodes.get(node)?.content else {
                    return None;
                };
                let count = file.size.div_ceil(u64::from(chunk_size));
                let positions = trace.positions(line, chunk_size);
                (positions.start < count)
                    .then_some((node, positions.start..positions.end.min(count)))
            });
            let Some((node, positions)) = found else {
                traced.unknown += 1;
                traced
                    .first_unknown
                    .get_or_insert_with(|| line.path.clone());
                continue;
            };
            if seen.insert(node) {
                traced.files.push(node);
            }
            traced
                .chunks
                .extend(positions.map(|position| (node, position)));
        }
        traced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tree::{Data, FileContent, Meta, Node};
    use crate::trace::Line;

    #[test]
    fn a_trace_finds_its_files_and_counts_what_is_not_there() {
        let node = |content| Node {
            meta: Meta::default(),
            xattrs: Vec::new(),
            content,
        };
        let file = |size| {
            let (path, sparse) = ("nowhere".into(), false);
            let data = Data::Path { path, sparse };
            let chunks = Vec::new();
            node(Content::File(FileContent { size, data, chunks }))
        };
        let directory = |names: &[(&[u8], usize)]| {
            let names = names.iter().map(|(name, child)| ((*name).into(), *child));
            node(Content::Directory(names.collect()))
        };
        let tree = Tree {
            nodes: vec![
                directory(&[(b"a", 1), (b"d", 2)]),
                file(20_000),
                directory(&[(b"b", 3), (b"link", 1)]),
                file(1),
            ],
        };
        let line = |(position, path): (u64, &[u8])| Line {
            position,
            path: path.to_vec(),
        };
        let lines: [(u64, &[u8]); 7] = [
            (0, b"d/b"),
            (2, b"a"),
            (1, b"d/b"),
            (0, b"d"),
            (0, b"x"),
            (0, b"d/link"),
            (9, b"a"),
        ];
        let trace = Trace {
            chunk_size: Some(8192),
            lines: lines.into_iter().map(line).collect(),
            ..Trace::default()
        };
        let wanted = Traced {
            files: vec![3, 1],
            chunks: vec![(3, 0), (1, 4), (1, 0), (1, 1)],
            unknown: 4,
            first_unknown: Some(b"d/b".to_vec()),
        };
        assert_eq!(Traced::new(&trace, &tree, 4096), wanted);
    }
}
