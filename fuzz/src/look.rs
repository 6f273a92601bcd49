//! Looks at everything of an image that may be hostile, within limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::destination::Destination;
use tidegate::fs::walk::{self, Step};
use tidegate::fs::{FileSystem, ImageFs, Read};
use tidegate::image::{Content, Image, Node};
use tidegate::store::Store;

use crate::images::Seen;

/// Most names that a walk visits: a hostile image may have its inodes share
/// directory blocks.
const STEPS: usize = 2000;

/// Most chunk groups of a file that are looked at.
const GROUPS: usize = 4;

/// What an image shows.
#[derive(Default)]
pub struct Sight {
    /// What can be seen, by path.
    pub found: BTreeMap<Vec<u8>, Seen>,
    /// Names and lists that cannot be had.
    pub faults: usize,
    /// Whether the walk was cut short.
    pub cut: bool,
}

/// Walks the image and loads what each node has.
pub fn look(image: &Image) -> Sight {
    let mut sight = Sight::default();
    let mut steps = 0;
    walk::walk(image, &mut |step| {
        steps += 1;
        match step {
            Step::Node(path, node) => match see(image, node) {
                Some(seen) => {
                    sight.found.insert(path.to_vec(), seen);
                }
                None => sight.faults += 1,
            },
            Step::Fault(_, error) => {
                sight.faults += 1;
                // Messages must be printable without a panic, too.
                let _ = error.to_string();
            }
        }
        sight.cut = steps == STEPS;
        !sight.cut
    });
    sight
}

/// What an image says of a node; none if its chunk list cannot be had.
pub fn see(image: &Image, node: &Arc<Node>) -> Option<Seen> {
    let mut chunks = Vec::new();
    if let Content::File(file) = &node.content {
        for _ in 0..GROUPS {
            if chunks.len() as u64 >= file.chunks() {
                break;
            }
            let position = chunks.len() as u64;
            let group = image.chunk_group(file, node.attr.size, position).ok()?;
            assert_eq!(group.start, position);
            assert!(!group.chunks.is_empty());
            chunks.extend_from_slice(&group.chunks);
        }
        let _ = image.chunk_group(file, node.attr.size, file.chunks());
        let _ = image.chunk_group(file, node.attr.size, u64::MAX);
    }
    let target = match &node.content {
        Content::Symlink(target) => Some(target.to_vec()),
        _ => None,
    };
    for (name, _) in &node.xattrs {
        assert!(node.xattr(name).is_some(), "a listed xattr is not there");
    }
    Some(Seen {
        attr: node.attr,
        xattrs: node.xattrs.clone(),
        target,
        chunks,
    })
}

/// Reads a file whole through a store; none if it fails.
pub fn read(image: &Image, store: &Arc<Store>, node: &Node) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    walk::read_file(image, store, node, &mut |part| {
        bytes.extend_from_slice(part);
        Ok(())
    })
    .ok()
    .map(|()| bytes)
}

/// Lists, looks up and reads through the file system that guests get.
pub fn serve(image: Arc<Image>, store: Arc<Store>) {
    let fs = ImageFs::new(image, store);
    fs.init();
    let _ = fs.statfs(1);
    let mut nodes = vec![1];
    let mut names = Vec::new();
    let mut room = 200;
    let _ = fs.readdirplus(1, 0, 0, &mut |shown, entry| {
        names.push(shown.name.to_vec());
        nodes.extend(entry.map(|entry| entry.node));
        room -= 1;
        room > 0
    });
    for name in &names {
        if let Ok(entry) = fs.lookup(1, name) {
            nodes.push(entry.node);
        }
    }
    nodes.truncate(8);
    let mut buffer = vec![0; 64 << 10];
    for (count, &node) in nodes.iter().enumerate() {
        let attr = fs.getattr(node);
        let _ = fs.readlink(node);
        let _ = fs.listxattr(node);
        let _ = fs.readdir(node, 0, 1 << 40, &mut |_| true);
        let size = attr.map_or(0, |(attr, _)| attr.size);
        for offset in [0, 4095, size.saturating_sub(9), u64::MAX] {
            let mut dest = Destination::from_slice(&mut buffer);
            match fs.read(node, 0, offset, &mut dest) {
                Read::Ready(answer) => {
                    assert!(answer.is_ok_and(|got| got <= 64 << 10) || answer.is_err())
                }
                Read::Pending(read) if count < 3 => {
                    let runtime = tidegate::runtime::handle().unwrap();
                    let _ = runtime.block_on(read);
                }
                Read::Pending(_) => {}
            }
        }
    }
}
