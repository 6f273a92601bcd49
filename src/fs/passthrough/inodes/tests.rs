//! Nodes that several threads hold and forget, and what is written down of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::fs::passthrough::host;

const RECORD: usize = 512;

struct Rig {
    inodes: Inodes,
    home: TempDir,
}

impl Rig {
    /// A table of what is held in a directory, written down; files in it.
    fn new(files: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        for number in 0..files {
            fs::write(home.path().join(number.to_string()), b"").unwrap();
        }
        let (stat, fd) = open(home.path());
        let mut inodes = Inodes::new(Inode::new(&stat, fd));
        let (slots, saved) = Slots::open(&Self::table(&home), RECORD).unwrap();
        inodes.keep(slots, &saved).unwrap();
        Self { inodes, home }
    }

    fn table(home: &TempDir) -> PathBuf {
        home.path().join("table")
    }

    fn node(&self, file: usize) -> (Stat, Held) {
        open(&self.home.path().join(file.to_string()))
    }

    fn enter(&self, file: usize) -> u64 {
        let (stat, fd) = self.node(file);
        let name = file.to_string();
        self.inodes
            .enter(&stat, fd, (ROOT, name.as_bytes()), Holder::Guest)
            .unwrap()
    }

    /// Ids and references, as they are written down.
    fn written(&self) -> Vec<(u64, u64)> {
        let (_, saved) = Slots::open(&Self::table(&self.home), RECORD).unwrap();
        let records = saved.records.iter();
        let records = records.map(|(_, bytes)| Record::read(bytes).unwrap());
        let nodes = records.filter(|record| record.id != ROOT);
        let mut all: Vec<_> = nodes.map(|record| (record.id, record.references)).collect();
        all.sort_unstable();
        all
    }
}

fn open(path: &Path) -> (Stat, Held) {
    let file = File::open(path).unwrap();
    let fd = host::reopen(file.as_fd(), libc::O_PATH).unwrap();
    (Stat::of(fd.as_fd()).unwrap(), Held::new(fd).unwrap())
}

#[test]
fn the_kernel_is_asked_while_the_table_is_free() {
    let rig = Rig::new(1);
    let (stat, fd) = rig.node(0);
    let mut faster = 0;
    let identify = |fd: BorrowedFd<'_>, stat: &Stat| {
        assert!(rig.inodes.table.try_write().is_some(), "locked");
        // Another lookup of the same node comes first.
        faster = rig.enter(0);
        Identity::of(fd, stat)
    };
    let node = rig
        .inodes
        .enter_as(&stat, fd, (ROOT, b"0"), Holder::Guest, identify);
    assert_eq!(node, Ok(faster));
    assert_eq!(rig.written(), [(faster, 2)]);
    rig.inodes.forget(faster, 2);
    assert_eq!((rig.inodes.len(), rig.written().len()), (0, 0));
}

#[test]
fn a_node_that_is_forgotten_while_the_kernel_is_asked_is_a_new_one() {
    let rig = Rig::new(1);
    let (stat, fd) = rig.node(0);
    let mut first = 0;
    let identify = |fd: BorrowedFd<'_>, stat: &Stat| {
        first = rig.enter(0);
        rig.inodes.forget(first, 1);
        Identity::of(fd, stat)
    };
    let node = rig
        .inodes
        .enter_as(&stat, fd, (ROOT, b"0"), Holder::Guest, identify);
    let node = node.unwrap();
    assert!(node > first && rig.inodes.get(first).is_err());
    assert_eq!(rig.written(), [(node, 1)]);
}

#[test]
fn threads_count_every_reference_once() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 400;
    const FILES: usize = 3;
    let rig = Rig::new(FILES);
    let start = Barrier::new(THREADS);
    let left = thread::scope(|scope| {
        let work = |thread: usize| {
            start.wait();
            let mut held = Vec::new();
            for round in 0..ROUNDS {
                let node = rig.enter((thread + round) % FILES);
                // What is held is found, whatever others forget.
                let inode = rig.inodes.get(node).unwrap();
                assert_eq!(inode.file_type(), libc::S_IFREG);
                held.push(node);
                if round % 3 > 0 {
                    rig.inodes.forget(held.swap_remove(round % held.len()), 1);
                }
                if round % 50 == 49 {
                    held.drain(..).for_each(|node| rig.inodes.forget(node, 1));
                }
            }
            held.push(rig.enter(thread % FILES));
            held
        };
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        let left = threads.into_iter().map(|thread| thread.join().unwrap());
        left.collect::<Vec<_>>()
    });
    let mut counts = std::collections::BTreeMap::new();
    for node in left.into_iter().flatten() {
        *counts.entry(node).or_insert(0) += 1;
    }
    // One node for each file, with as many references as are left.
    assert_eq!(counts.len(), FILES);
    assert_eq!(
        rig.written(),
        counts.clone().into_iter().collect::<Vec<_>>()
    );
    for (node, count) in counts {
        rig.inodes.forget(node, count);
    }
    assert_eq!((rig.inodes.len(), rig.written().len()), (0, 0));
}

#[test]
fn what_the_tree_holds_is_not_written_down() {
    let rig = Rig::new(1);
    let hold = || {
        let (stat, fd) = rig.node(0);
        let name = (ROOT, &b"0"[..]);
        rig.inodes.enter(&stat, fd, name, Holder::Tree).unwrap()
    };
    let node = hold();
    assert_eq!((rig.inodes.len(), rig.written().len()), (0, 0));
    assert_eq!((rig.enter(0), rig.enter(0), hold()), (node, node, node));
    assert_eq!((rig.inodes.len(), rig.written()), (1, vec![(node, 2)]));
    // The guest has two references, however many it gives back.
    rig.inodes.forget(node, 9);
    assert_eq!((rig.inodes.len(), rig.written().len()), (0, 0));
    assert!(rig.inodes.get(node).is_ok());
    // A guest that begins anew takes nothing from the tree.
    assert_eq!(rig.enter(0), node);
    rig.inodes.clear();
    assert_eq!((rig.inodes.len(), rig.written().len()), (0, 0));
    assert_eq!(rig.enter(0), node);
    assert_eq!(rig.written(), [(node, 1)]);
    rig.inodes.let_go(node);
    rig.inodes.let_go(node);
    assert_eq!(rig.written(), [(node, 1)]);
    rig.inodes.forget(node, 1);
    assert!(rig.inodes.get(node).is_err() && rig.written().is_empty());
}
