//! One file system in the tree, and what the guest holds of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use super::super::stats::Stats;
use super::super::{Attr, Entry, Errno, FileSystem};
use super::keep::RootCount;
use super::number;
use super::path::MountPath;

/// A file system at its place.
pub(super) struct Mount {
    pub(super) number: u32,
    pub(super) path: MountPath,
    pub(super) fs: Arc<dyn FileSystem>,
    pub(super) stats: Arc<Stats>,
    /// References to the root, which file systems do not count.
    roots: AtomicU64,
    /// Those of the guest, written down.
    kept: Option<RootCount>,
    /// Another one has its place.
    detached: AtomicBool,
    /// On its way out of the view: nothing new may be held.
    dead: AtomicBool,
}

impl Mount {
    pub(super) fn new(
        number: u32,
        path: MountPath,
        (fs, stats): (Arc<dyn FileSystem>, Arc<Stats>),
        kept: Option<RootCount>,
    ) -> Self {
        let roots = kept.as_ref().map_or(0, RootCount::get);
        Self {
            number,
            path,
            fs,
            stats,
            roots: AtomicU64::new(roots),
            kept,
            detached: AtomicBool::new(false),
            dead: AtomicBool::new(false),
        }
    }

    /// Adds a reference to the root. False when the mount is on its way out: the
    /// caller looks again.
    pub(super) fn hold_root(&self) -> bool {
        self.roots.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.dead.load(Ordering::SeqCst) {
            self.release_root(1);
            return false;
        }
        true
    }

    /// Drops references to the root.
    pub(super) fn release_root(&self, count: u64) {
        let less = |held: u64| Some(held.saturating_sub(count));
        // The closure always gives a value.
        let _ = self
            .roots
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }

    /// Writes down that the guest got a reference to the root.
    pub(super) fn note_root(&self) {
        if let Some(kept) = &self.kept {
            kept.change(|count| count.saturating_add(1));
        }
    }

    /// Drops references that the guest had to the root.
    pub(super) fn forget_root(&self, count: u64) {
        if let Some(kept) = &self.kept {
            kept.change(|held| held.saturating_sub(count));
        }
        self.release_root(count);
    }

    /// Drops what is written down: the mount is gone.
    pub(super) fn retire(&self) {
        if let Some(kept) = &self.kept {
            kept.retire();
        }
    }

    /// Drops everything that is held.
    pub(super) fn forget_all(&self) {
        if let Some(kept) = &self.kept {
            kept.change(|_| 0);
        }
        self.roots.store(0, Ordering::SeqCst);
        self.fs.init();
    }

    /// Notes that another one has its place.
    pub(super) fn detach(&self) {
        self.detached.store(true, Ordering::SeqCst);
    }

    /// Whether it was replaced and nothing of it is held any more.
    pub(super) fn is_over(&self) -> bool {
        self.detached.load(Ordering::SeqCst) && !self.is_held()
    }

    /// Takes a replaced mount out of use if nothing is held. Whoever holds
    /// something at the same time either is seen here or sees that it is dead.
    pub(super) fn bury(&self) -> bool {
        self.dead.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let buried = self.is_over();
        if !buried {
            self.dead.store(false, Ordering::SeqCst);
        }
        buried
    }

    fn is_held(&self) -> bool {
        self.roots.load(Ordering::SeqCst) > 0 || self.fs.is_held()
    }

    /// Node id on the device.
    ///
    /// # Errors
    /// `EIO` when the file system's own is too large.
    pub(super) fn node(&self, inner: u64) -> Result<u64, Errno> {
        number::join(self.number, inner).ok_or_else(|| {
            log::error!(
                "Node {inner} at {} has a number of more than 40 bits; report this as a bug",
                self.path
            );
            Errno::EIO
        })
    }

    /// Attributes with the inode number on the device.
    pub(super) fn attr(&self, inner: Attr) -> Result<Attr, Errno> {
        let ino = self.node(inner.ino)?;
        Ok(Attr { ino, ..inner })
    }

    /// An entry as the device shows it.
    ///
    /// # Errors
    /// `EIO` when a number of the file system is too large.
    pub(super) fn shown(&self, inner: Entry) -> Result<Entry, Errno> {
        Ok(Entry {
            node: self.node(inner.node)?,
            attr: self.attr(inner.attr)?,
            timeout: inner.timeout,
        })
    }
}
