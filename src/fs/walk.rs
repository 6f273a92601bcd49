//! Walks an image without mounting it, and reads its files whole: for `check`,
//! `ls`, `cat` and `unpack`.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;

use crate::image::{Content, Image, ImageError, Node, NodeRef};
use crate::store::{Store, StoreError};

pub use crate::path_text::{show, show_relative};

/// Chunks that are fetched ahead while a file is read.
const AHEAD: usize = 4;

/// Deepest directory: a path of 4096 bytes, the longest that Linux takes, has no
/// more names.
const DEPTH_MAX: usize = 2048;

/// Why a walk or a read could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// Metadata cannot be read or proved.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A chunk cannot be had.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// A directory stands in several places, maybe inside itself.
    #[error("Directory {path} stands elsewhere too; the image is damaged")]
    DirectoryTwice {
        /// The second place.
        path: String,
    },
    /// A directory is deeper than any path can lead.
    #[error("Directory {path} is more than {DEPTH_MAX} levels deep; the image is damaged")]
    TooDeep {
        /// The directory.
        path: String,
    },
    /// Entries do not ascend by name.
    #[error("Entries of directory {path} are out of order; the image is damaged")]
    OutOfOrder {
        /// The directory.
        path: String,
    },
    /// The path leads nowhere.
    #[error("There is no {path} in the image")]
    NotFound {
        /// The path.
        path: String,
    },
    /// The path is no regular file.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// The path.
        path: String,
    },
    /// The consumer of a file's bytes failed.
    #[error("Cannot write")]
    Write(#[source] std::io::Error),
    /// No threads can be started.
    #[error("Cannot start threads")]
    Threads(#[source] std::io::Error),
}

/// What a walk meets.
pub enum Step<'a> {
    /// A node under one of its names. The path has no slash at its start; the
    /// root's is empty.
    Node(&'a [u8], &'a Arc<Node>),
    /// An entry, or a directory's list, that cannot be had.
    Fault(&'a [u8], WalkError),
}

/// Visits every name of an image, parents before children, siblings by name
/// bytes, until `visit` returns false.
pub fn walk(image: &Image, visit: &mut dyn FnMut(Step<'_>) -> bool) {
    let mut stack: Vec<(Vec<u8>, NodeRef, usize)> = vec![(Vec::new(), image.root(), 0)];
    // Each directory is entered once, or a hostile image could lead in circles.
    let mut entered = HashSet::new();
    while let Some((path, node, depth)) = stack.pop() {
        let loaded = match image.node(&node) {
            Ok(loaded) => loaded,
            Err(error) => {
                if !visit(Step::Fault(&path, error.into())) {
                    return;
                }
                continue;
            }
        };
        if !visit(Step::Node(&path, &loaded)) {
            return;
        }
        let Content::Directory(directory) = &loaded.content else {
            continue;
        };
        if !entered.insert(node.nid) {
            let error = WalkError::DirectoryTwice { path: show(&path) };
            if !visit(Step::Fault(&path, error)) {
                return;
            }
            continue;
        }
        if depth > DEPTH_MAX {
            let error = WalkError::TooDeep { path: show(&path) };
            if !visit(Step::Fault(&path, error)) {
                return;
            }
            continue;
        }
        let first = stack.len();
        let mut before: Option<Vec<u8>> = None;
        for number in 0..directory.groups() {
            let group = match image.group(directory, number) {
                Ok(group) => group,
                Err(error) => {
                    if !visit(Step::Fault(&path, error.into())) {
                        return;
                    }
                    break;
                }
            };
            let mut position = 0;
            while let Some((name, entry)) = group.get(position) {
                position += 1;
                // Two entries of one name would let a link stand for a
                // directory while the tree is unpacked.
                if before.as_deref().is_some_and(|before| before >= name) {
                    let error = WalkError::OutOfOrder { path: show(&path) };
                    if !visit(Step::Fault(&path, error)) {
                        return;
                    }
                    break;
                }
                before = Some(name.to_vec());
                let path = join(&path, name);
                match image.resolve(entry) {
                    Ok(child) => stack.push((path, child, depth + 1)),
                    Err(error) => {
                        if !visit(Step::Fault(&path, error.into())) {
                            return;
                        }
                    }
                }
            }
        }
        if let Some(children) = stack.get_mut(first..) {
            children.reverse();
        }
    }
}

/// The node at `path`, whose leading, trailing and doubled slashes mean
/// nothing. Links are not followed.
///
/// # Errors
/// When there is none, or a step cannot be read or proved.
pub fn find(image: &Image, path: &[u8]) -> Result<Arc<Node>, WalkError> {
    let missing = || WalkError::NotFound { path: show(path) };
    let mut node = image.node(&image.root())?;
    for name in path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
    {
        let Content::Directory(directory) = &node.content else {
            return Err(missing());
        };
        let entry = image.find(directory, name)?.ok_or_else(missing)?;
        node = image.node(&image.resolve(&entry)?)?;
    }
    Ok(node)
}

/// Reads a file from start to end, chunk by chunk, each proved; `sink` gets the
/// bytes in order.
///
/// # Errors
/// When the node is no file, a chunk cannot be had, or `sink` fails.
pub fn read_file(
    image: &Image,
    store: &Arc<Store>,
    node: &Node,
    sink: &mut dyn FnMut(&Bytes) -> std::io::Result<()>,
) -> Result<(), WalkError> {
    let Content::File(file) = &node.content else {
        return Err(WalkError::NotAFile {
            path: format!("inode {}", node.nid),
        });
    };
    let runtime = crate::runtime::handle().map_err(WalkError::Threads)?;
    let mut position = 0;
    while position < file.chunks() {
        let group = image.chunk_group(file, node.attr.size, position)?;
        let reads = group.chunks.iter().map(|chunk| {
            let (store, chunk) = (Arc::clone(store), *chunk);
            async move { store.read(chunk).await }
        });
        runtime.block_on(async {
            let mut reads = stream::iter(reads).buffered(AHEAD);
            while let Some(bytes) = reads.next().await {
                sink(&bytes?).map_err(WalkError::Write)?;
            }
            Ok::<(), WalkError>(())
        })?;
        position = group.start + group.chunks.len() as u64;
    }
    Ok(())
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        name.to_vec()
    } else {
        [path, b"/", name].concat()
    }
}
