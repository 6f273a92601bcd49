//! Runs a program on an image mounted through `/dev/fuse` and writes down what
//! the kernel asked for.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate::backend::directory::DirectoryBackend;
use tidegate::destination::Destination;
use tidegate::fs::{Attr, DirEntry, Entry, Errno, FileSystem, ImageFs, Read, StatFs};
use tidegate::fusedev::{self, MountOptions};
use tidegate::image::{Image, Pin};
use tidegate::store::{Store, StoreConfig};

use super::{Program, Step};
use crate::world::run;

/// Node id of the root.
const ROOT: u64 = 1;

/// Requests so far, and the paths of the nodes in them.
#[derive(Debug, Default)]
struct Log {
    steps: Vec<Step>,
    paths: HashMap<u64, PathBuf>,
}

/// An image that writes down what it is asked.
struct Recorded {
    inner: ImageFs,
    log: Mutex<Log>,
}

impl Log {
    fn path(&self, node: u64) -> PathBuf {
        self.paths.get(&node).cloned().unwrap_or_default()
    }

    fn child(&self, parent: u64, name: &[u8]) -> PathBuf {
        self.path(parent).join(&*String::from_utf8_lossy(name))
    }
}

/// Records one start of a program. Needs root and `/dev/fuse`.
pub(crate) fn record(program: &Program, bootstrap: &Path, blobs: &Path) -> io::Result<Vec<Step>> {
    let image = Arc::new(Image::open(bootstrap, Pin::default()).map_err(io::Error::other)?);
    let backend = Arc::new(DirectoryBackend::new(blobs.to_owned()));
    let store = Store::open(StoreConfig::default(), backend, image.blobs().to_vec())
        .map_err(io::Error::other)?;
    let recorded = Arc::new(Recorded {
        inner: ImageFs::new(image, store),
        log: Mutex::default(),
    });
    let directory = tempfile::tempdir()?;
    let filesystem = Arc::clone(&recorded);
    let mounted = fusedev::mount(directory.path(), filesystem, MountOptions::default())
        .map_err(io::Error::other)?;
    let outcome = start(program, directory.path());
    mounted.unmount().map_err(io::Error::other)?;
    outcome?;
    let steps = std::mem::take(&mut recorded.log.lock().steps);
    Ok(steps)
}

/// Runs it with the image as its root, in a mount namespace of its own.
fn start(program: &Program, root: &Path) -> io::Result<()> {
    let script = "mount --make-rprivate / && mount -t proc proc \"$1/proc\" && \
        mount --rbind /dev \"$1/dev\" && mount -t tmpfs tmpfs \"$1/tmp\" && \
        exec chroot \"$1\" /bin/sh -c \"$2\"";
    let mut line = Command::new("unshare");
    line.args(["--mount", "--", "sh", "-c", script, "sh"])
        .arg(root)
        .arg(program.command)
        .env("HOME", "/tmp");
    run(line)
}

impl FileSystem for Recorded {
    fn init(&self) {
        self.inner.init();
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno> {
        let entry = self.inner.lookup(parent, name)?;
        let mut log = self.log.lock();
        let path = log.child(parent, name);
        if entry.node != 0 && entry.node != ROOT {
            log.paths.entry(entry.node).or_insert_with(|| path.clone());
        }
        log.steps.push(Step::Look(path));
        Ok(entry)
    }

    fn forget(&self, node: u64, count: u64) {
        self.inner.forget(node, count);
    }

    fn getattr(&self, node: u64) -> Result<(Attr, Duration), Errno> {
        self.inner.getattr(node)
    }

    fn readlink(&self, node: u64) -> Result<Vec<u8>, Errno> {
        let mut log = self.log.lock();
        let path = log.path(node);
        log.steps.push(Step::Link(path));
        self.inner.readlink(node)
    }

    fn getxattr(&self, node: u64, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.inner.getxattr(node, name)
    }

    fn listxattr(&self, node: u64) -> Result<Vec<u8>, Errno> {
        self.inner.listxattr(node)
    }

    fn readdir(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        self.listed(node, offset);
        self.inner.readdir(node, handle, offset, add)
    }

    fn readdirplus(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Option<Entry>) -> bool,
    ) -> Result<(), Errno> {
        self.listed(node, offset);
        self.inner
            .readdirplus(node, handle, offset, &mut |name, entry| {
                if let Some(found) = &entry {
                    let mut log = self.log.lock();
                    let path = log.child(node, name.name);
                    log.paths.entry(found.node).or_insert(path);
                }
                add(name, entry)
            })
    }

    fn statfs(&self, node: u64) -> Result<StatFs, Errno> {
        self.inner.statfs(node)
    }

    fn read(&self, node: u64, handle: u64, offset: u64, dest: &mut Destination<'_>) -> Read {
        let mut log = self.log.lock();
        let path = log.path(node);
        let len = dest.len();
        log.steps.push(Step::Read { path, offset, len });
        drop(log);
        self.inner.read(node, handle, offset, dest)
    }
}

impl Recorded {
    fn listed(&self, node: u64, offset: u64) {
        if offset == 0 {
            let mut log = self.log.lock();
            let path = log.path(node);
            log.steps.push(Step::List(path));
        }
    }
}
