use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::nodes::ROOT;
use super::super::stats::Stats;
use super::super::{Entry, Errno, FileSystem, Read};
use super::{MountPath, MountTree, TreeError};
use crate::destination::Destination;
use crate::fuse::memory_fs::{self, MemoryFs};

fn path(text: &str) -> MountPath {
    text.parse().unwrap()
}

fn mount(tree: &MountTree, at: &str) -> Arc<MemoryFs> {
    let fs = Arc::new(MemoryFs::new());
    tree.mount(&path(at), fs.clone(), Arc::default()).unwrap();
    fs
}

fn walk(tree: &MountTree, at: &str) -> Result<Entry, Errno> {
    let mut found = Entry::absent(Duration::MAX);
    found.node = ROOT;
    for name in at.split('/').filter(|name| !name.is_empty()) {
        found = tree.lookup(found.node, name.as_bytes())?;
        if found.node == 0 {
            return Err(Errno::ENOENT);
        }
    }
    Ok(found)
}

fn read(tree: &MountTree, node: u64) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; 4096];
    match tree.read(node, 0, 0, &mut Destination::from_slice(&mut bytes)) {
        Read::Ready(Ok(len)) => {
            bytes.truncate(len);
            Ok(bytes)
        }
        Read::Ready(Err(errno)) => Err(errno),
        Read::Pending(_) => panic!("hello is at hand"),
    }
}

fn names(tree: &MountTree, node: u64) -> Vec<String> {
    let mut names = Vec::new();
    tree.readdir(node, 0, 0, &mut |shown| {
        names.push(String::from_utf8(shown.name.to_vec()).unwrap());
        true
    })
    .unwrap();
    names
}

/// Waits for what is done aside.
fn until(done: impl Fn() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

#[test]
fn mounts_appear_where_nothing_was_and_vanish_again() {
    let tree = MountTree::new();
    let absent = tree.lookup(ROOT, b"rafs").unwrap();
    assert_eq!((absent.node, absent.timeout), (0, Duration::ZERO));
    mount(&tree, "/rafs/1/lowerdir");
    mount(&tree, "/containers");
    assert_eq!(names(&tree, ROOT), [".", "..", "rafs", "containers"]);
    let rafs = walk(&tree, "/rafs").unwrap();
    assert_eq!(rafs.timeout, Duration::ZERO);
    assert_eq!(rafs.attr.mode & libc::S_IFMT, libc::S_IFDIR);
    let root = walk(&tree, "/rafs/1/lowerdir").unwrap();
    assert_eq!(root.timeout, Duration::ZERO);
    let hello = walk(&tree, "/rafs/1/lowerdir/hello").unwrap();
    assert_eq!(hello.timeout, memory_fs::TIMEOUT);
    assert_eq!(
        read(&tree, hello.node).unwrap(),
        memory_fs::content()[..4096]
    );

    assert!(tree.unmount(&path("/rafs/1/lowerdir")));
    assert!(!tree.unmount(&path("/rafs/1/lowerdir")));
    let absent = tree.lookup(ROOT, b"rafs").unwrap();
    assert_eq!((absent.node, absent.timeout), (0, Duration::ZERO));
    for gone in [rafs.node, root.node, hello.node] {
        assert_eq!(tree.getattr(gone), Err(Errno::ESTALE));
        tree.forget(gone, 1);
    }
    assert_eq!(read(&tree, hello.node), Err(Errno::ESTALE));
    mount(&tree, "/rafs/1/lowerdir");
    let anew = walk(&tree, "/rafs/1/lowerdir").unwrap();
    assert_ne!(anew.node, root.node);
}

#[test]
fn a_place_is_mounted_once() {
    let tree = MountTree::new();
    mount(&tree, "/a");
    let again = tree.mount(&path("//a/"), Arc::new(MemoryFs::new()), Arc::default());
    assert_eq!(again, Err(TreeError::Taken(path("/a"))));
    let other = tree.remount(&path("/b"), Arc::new(MemoryFs::new()), Arc::default());
    assert_eq!(other, Err(TreeError::NotMounted(path("/b"))));
}

#[test]
fn numbers_are_unique_over_hundreds_of_mounts() {
    let tree = MountTree::new();
    let (mut nodes, mut inodes) = (HashSet::new(), HashSet::new());
    inodes.insert(tree.getattr(ROOT).unwrap().0.ino);
    for number in 0..300 {
        mount(&tree, &format!("/rafs/{number}/lowerdir"));
        for below in ["", "/lowerdir", "/lowerdir/hello", "/lowerdir/link"] {
            let entry = walk(&tree, &format!("/rafs/{number}{below}")).unwrap();
            assert!(nodes.insert(entry.node), "{number}{below}");
            assert!(inodes.insert(entry.attr.ino), "{number}{below}");
        }
    }
    assert!(nodes.iter().all(|&node| node > ROOT));
}

#[test]
fn a_single_image_at_the_root_keeps_its_numbers() {
    let tree = MountTree::new();
    mount(&tree, "/");
    let hello = walk(&tree, "/hello").unwrap();
    assert_eq!(hello.node, memory_fs::HELLO);
    assert_eq!(hello.attr.ino, memory_fs::HELLO);
    assert_eq!(names(&tree, ROOT), [".", "..", "hello", "link", "slow"]);
}

#[test]
fn a_mount_inside_another_is_in_front_of_it() {
    let tree = MountTree::new();
    mount(&tree, "/");
    mount(&tree, "/rafs/1");
    mount(&tree, "/hello");
    assert_eq!(
        names(&tree, ROOT),
        [".", "..", "link", "slow", "rafs", "hello"]
    );
    walk(&tree, "/hello/hello").unwrap();
    walk(&tree, "/rafs/1/link").unwrap();
    assert!(tree.unmount(&path("/hello")));
    let file = walk(&tree, "/hello").unwrap();
    assert_eq!(file.node, memory_fs::HELLO);
    // What is inside stays when the outer one goes.
    assert!(tree.unmount(&path("/")));
    assert_eq!(names(&tree, ROOT), [".", "..", "rafs"]);
    walk(&tree, "/rafs/1/hello").unwrap();
}

#[test]
fn remount_leads_new_lookups_to_the_new_and_keeps_what_is_held() {
    let tree = MountTree::new();
    let old = mount(&tree, "/a");
    let root = walk(&tree, "/a").unwrap();
    let held = tree.lookup(root.node, b"hello").unwrap();
    let new = Arc::new(MemoryFs::new());
    tree.remount(&path("/a"), new.clone(), Arc::default())
        .unwrap();

    let now = walk(&tree, "/a/hello").unwrap();
    assert_ne!(now.node, held.node);
    assert_eq!(new.references(memory_fs::HELLO), 1);
    assert_eq!(read(&tree, held.node).unwrap().len(), 4096);
    // The old root is remembered, and so are names below it.
    let link = tree.lookup(root.node, b"link").unwrap();
    assert_eq!(old.references(memory_fs::LINK), 1);
    assert_eq!(tree.lingering(), 1);

    tree.forget(held.node, 1);
    tree.forget(root.node, 1);
    assert_eq!(tree.lingering(), 1);
    tree.forget(link.node, 1);
    until(|| tree.lingering() == 0);
    assert_eq!(read(&tree, held.node), Err(Errno::ESTALE));
    assert_eq!(Arc::strong_count(&old), 1);
    assert_eq!(read(&tree, now.node).unwrap().len(), 4096);
}

#[test]
fn remount_of_what_nobody_holds_leaves_nothing_behind() {
    let tree = MountTree::new();
    let old = mount(&tree, "/");
    tree.remount(&path("/"), Arc::new(MemoryFs::new()), Arc::default())
        .unwrap();
    assert_eq!(tree.lingering(), 0);
    assert_eq!(Arc::strong_count(&old), 1);
}

#[test]
fn unmount_and_a_new_session_end_what_lingers() {
    let tree = MountTree::new();
    for end in ["unmount", "session"] {
        let old = mount(&tree, "/a");
        let held = walk(&tree, "/a/hello").unwrap();
        tree.remount(&path("/a"), Arc::new(MemoryFs::new()), Arc::default())
            .unwrap();
        assert_eq!(tree.lingering(), 1, "{end}");
        if end == "session" {
            tree.init();
        }
        tree.unmount(&path("/a"));
        until(|| tree.lingering() == 0 && Arc::strong_count(&old) == 1);
        assert_eq!(read(&tree, held.node), Err(Errno::ESTALE));
    }
}

#[test]
fn listings_go_on_while_names_come_and_go() {
    let tree = MountTree::new();
    for number in 0..10 {
        mount(&tree, &format!("/{number}"));
    }
    let mut seen = Vec::new();
    let mut offset = 0;
    let mut one = || {
        let mut shown = None;
        tree.readdirplus(ROOT, 0, offset, &mut |entry, node| {
            if shown.is_some() {
                return false;
            }
            shown = Some(String::from_utf8(entry.name.to_vec()).unwrap());
            offset = entry.next;
            if let Some(node) = node {
                tree.forget(node.node, 1);
            }
            true
        })
        .unwrap();
        shown
    };
    while let Some(name) = one() {
        if name == "3" {
            // Gone behind us, gone before us, and new.
            for gone in ["/1", "/3", "/7"] {
                assert!(tree.unmount(&path(gone)));
            }
            mount(&tree, "/new");
        }
        seen.push(name);
    }
    let wanted = [
        ".", "..", "0", "1", "2", "3", "4", "5", "6", "8", "9", "new",
    ];
    assert_eq!(seen, wanted);
}

#[test]
fn directories_show_when_they_changed() {
    let tree = MountTree::new();
    mount(&tree, "/a/b");
    let before = tree.getattr(ROOT).unwrap().0.mtime;
    let above = walk(&tree, "/a").unwrap().attr.mtime;
    mount(&tree, "/c");
    assert_ne!(tree.getattr(ROOT).unwrap().0.mtime, before);
    assert_eq!(walk(&tree, "/a").unwrap().attr.mtime, above);
    mount(&tree, "/a/d");
    assert_ne!(walk(&tree, "/a").unwrap().attr.mtime, above);
}

#[test]
fn each_mount_has_figures_of_its_own() {
    let tree = MountTree::new();
    let stats = [Arc::new(Stats::default()), Arc::default()];
    for (at, stats) in ["/a", "/b"].into_iter().zip(&stats) {
        let fs = Arc::new(MemoryFs::new());
        tree.mount(&path(at), fs, Arc::clone(stats)).unwrap();
    }
    let counted = |node| {
        let mut found = None;
        tree.count(node, &mut |stats| found = Some(Arc::clone(stats)));
        found
    };
    for (at, stats) in ["/a/hello", "/b/hello"].into_iter().zip(&stats) {
        let found = counted(walk(&tree, at).unwrap().node).unwrap();
        assert!(Arc::ptr_eq(&found, stats), "{at}");
    }
    assert!(counted(ROOT).is_none());
}

#[test]
fn readers_never_fail_while_their_mount_is_replaced() {
    for at in ["/", "/a"] {
        let tree = MountTree::new();
        mount(&tree, at);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let root = walk(&tree, at).unwrap();
                        let hello = tree.lookup(root.node, b"hello").unwrap();
                        assert_eq!(read(&tree, hello.node).unwrap().len(), 4096);
                        let mut children = Vec::new();
                        tree.readdirplus(root.node, 0, 0, &mut |_, node| {
                            children.extend(node.map(|node| node.node));
                            true
                        })
                        .unwrap();
                        tree.getattr(hello.node).unwrap();
                        children.push(hello.node);
                        for node in children {
                            tree.forget(node, 1);
                        }
                        tree.forget(root.node, 1);
                    }
                });
            }
            for _ in 0..200 {
                tree.remount(&path(at), Arc::new(MemoryFs::new()), Arc::default())
                    .unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
        until(|| {
            tree.init();
            tree.lingering() == 0
        });
    }
}
