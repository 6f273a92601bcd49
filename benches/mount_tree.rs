//! What the tree of mounts adds to a request: GETATTR of a file system that
//! answers at once, asked directly and through a tree of 1, 10 and 300 mounts.

// A bench has nobody to report to: what cannot be set up ends it.
#![allow(clippy::expect_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

use tidegate::destination::Destination;
use tidegate::fs::mounts::MountTree;
use tidegate::fs::stats::Stats;
use tidegate::fs::{Attr, DirEntry, Entry, Errno, FileSystem, Read, StatFs};

/// Node 1 of every file system.
const ROOT: u64 = 1;

/// A file system with the same attributes everywhere.
struct Flat;

impl FileSystem for Flat {
    fn init(&self) {}

    fn lookup(&self, _: u64, _: &[u8]) -> Result<Entry, Errno> {
        Ok(Entry {
            node: 7,
            ..Entry::absent(Duration::from_secs(1))
        })
    }

    fn forget(&self, _: u64, _: u64) {}

    fn getattr(&self, node: u64) -> Result<(Attr, Duration), Errno> {
        let mut attr = Entry::absent(Duration::ZERO).attr;
        attr.ino = node;
        Ok((attr, Duration::ZERO))
    }

    fn readlink(&self, _: u64) -> Result<Vec<u8>, Errno> {
        Err(Errno::EINVAL)
    }

    fn getxattr(&self, _: u64, _: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENODATA)
    }

    fn listxattr(&self, _: u64) -> Result<Vec<u8>, Errno> {
        Ok(Vec::new())
    }

    fn readdir(
        &self,
        _: u64,
        _: u64,
        _: u64,
        _: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        Ok(())
    }

    fn readdirplus(
        &self,
        _: u64,
        _: u64,
        _: u64,
        _: &mut dyn FnMut(DirEntry<'_>, Option<Entry>) -> bool,
    ) -> Result<(), Errno> {
        Ok(())
    }

    fn statfs(&self, _: u64) -> Result<StatFs, Errno> {
        Ok(StatFs::read_only(0, 0))
    }

    fn read(&self, _: u64, _: u64, _: u64, _: &mut Destination<'_>) -> Read {
        Read::Ready(Ok(0))
    }
}

/// One request as the FUSE server asks it: the answer and where it is counted.
fn ask(fs: &dyn FileSystem, node: u64) -> u64 {
    fs.count(node, &mut |stats| {
        black_box(stats);
    });
    fs.getattr(node).map_or(0, |(attr, _)| attr.ino)
}

fn mount_tree(c: &mut Criterion) {
    let mut group = c.benchmark_group("mount_tree");
    let direct: Arc<dyn FileSystem> = Arc::new(Flat);
    group.bench_function("direct", |b| b.iter(|| ask(&*direct, black_box(7))));
    for mounts in [1, 10, 300] {
        let tree = MountTree::new();
        for number in 0..mounts {
            let path = format!("/rafs/{number}/lowerdir");
            let path = path.parse().expect("the path is sound");
            tree.mount(&path, Arc::new(Flat), Arc::new(Stats::default()))
                .expect("nothing is mounted there");
        }
        let mut node = ROOT;
        for name in ["rafs", "0", "lowerdir", "file"] {
            let entry = tree.lookup(node, name.as_bytes());
            node = entry.expect("the tree leads to it").node;
        }
        group.bench_function(BenchmarkId::new("mounts", mounts), |b| {
            b.iter(|| ask(&*tree, black_box(node)));
        });
    }
    group.finish();
}

criterion_group!(benches, mount_tree);
criterion_main!(benches);
