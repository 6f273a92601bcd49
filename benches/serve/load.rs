//! What there is to ask for: the tree as the guest found it.

use crate::support::session::wire::ROOT;
use crate::support::session::{Answer, Session};

/// Files shorter than this are left out of the reads.
const PAGE: u64 = 4096;

/// Files that are opened at most; a daemon may hold a descriptor for each.
const FILES: usize = 2000;

/// A file to read, opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) node: u64,
    pub(crate) handle: u64,
    pub(crate) size: u64,
}

/// The tree.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Each entry's parent, name and node.
    pub(crate) names: Vec<(u64, Vec<u8>, u64)>,
    /// Directories with a handle.
    pub(crate) directories: Vec<(u64, u64)>,
    /// Files of the working set, the largest first.
    pub(crate) files: Vec<Target>,
}

/// Walks the tree with READDIRPLUS and looks up what that did not; calls
/// `found` with parent, name, node, mode and size. Returns the number of
/// entries.
pub(crate) fn walk(
    session: &mut Session,
    mut found: impl FnMut(u64, &[u8], u64, u32, u64),
) -> Answer<u64> {
    let (mut open, mut count) = (vec![ROOT], 0);
    while let Some(parent) = open.pop() {
        for child in session.list(parent, true)? {
            let entry = match child.entry {
                Some(entry) if entry.node != 0 => entry,
                _ => session.lookup(parent, &child.name)?,
            };
            let attributes = entry.attributes;
            found(
                parent,
                &child.name,
                entry.node,
                attributes.mode,
                attributes.size,
            );
            if attributes.mode & libc::S_IFMT == libc::S_IFDIR {
                open.push(entry.node);
            }
            count += 1;
        }
    }
    Ok(count)
}

/// Walks the tree, opens the largest files up to `limit` bytes in all, and
/// reads each once.
pub(crate) fn survey(session: &mut Session, limit: u64) -> Answer<Tree> {
    let (mut tree, mut files, mut directories) = (Tree::default(), Vec::new(), vec![ROOT]);
    walk(session, |parent, name, node, mode, size| {
        tree.names.push((parent, name.to_vec(), node));
        match mode & libc::S_IFMT {
            libc::S_IFREG if size >= PAGE => files.push((size, node)),
            libc::S_IFDIR => directories.push(node),
            _ => {}
        }
    })?;
    for node in directories {
        tree.directories.push((node, session.opendir(node)?));
    }
    files.sort_unstable_by(|a, b| b.cmp(a));
    files.dedup();
    let mut total = 0;
    for (size, node) in files.into_iter().take(FILES) {
        if total + size > limit {
            continue;
        }
        total += size;
        let handle = session.open(node)?;
        let mut offset = 0;
        while offset < size {
            let part = session.read(node, handle, offset, 1 << 20)?;
            offset += u64::try_from(part.len().max(1)).unwrap();
        }
        tree.files.push(Target { node, handle, size });
    }
    Ok(tree)
}
