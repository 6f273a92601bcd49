//! Finds what a path of a list leads to, over symbolic links as in the guest.

use std::collections::VecDeque;

use crate::fs::walk::WalkError;
use crate::image::{Content, Image, NodeRef};
use crate::path_text::show;

/// Most links on the way, as in Linux.
const LINKS_MAX: usize = 40;

/// Most names on the way.
const NAMES_MAX: usize = 4096;

/// The node at `path`; `..` above the root is the root.
///
/// # Errors
/// When there is none, or a step cannot be read or proved.
pub(in crate::prefetch) fn follow(image: &Image, path: &[u8]) -> Result<NodeRef, WalkError> {
    let missing = || WalkError::NotFound { path: show(path) };
    let mut names = names(path);
    // The way from the root to where we are.
    let mut way = vec![image.root()];
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        match &name[..] {
            b"." => continue,
            b".." => {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            _ => {}
        }
        let here = image.node(way.last().unwrap_or(&image.root()))?;
        let Content::Directory(directory) = &here.content else {
            return Err(missing());
        };
        let entry = image.find(directory, &name)?.ok_or_else(missing)?;
        let child = image.resolve(&entry)?;
        match &image.node(&child)?.content {
            Content::Symlink(target) => {
                links += 1;
                if links > LINKS_MAX || names.len() > NAMES_MAX {
                    return Err(missing());
                }
                if target.first() == Some(&b'/') {
                    way.truncate(1);
                }
                for name in self::names(target).into_iter().rev() {
                    names.push_front(name);
                }
            }
            Content::File(_) | Content::Directory(_) | Content::Special => way.push(child),
        }
    }
    way.pop().ok_or_else(missing)
}

fn names(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}
