//! The tree answers requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::nodes::ROOT;
use super::super::operation::{Caller, Operation, Reply, Wants};
use super::super::stats::Stats;
use super::super::{Attr, DirEntry, Entry, Errno, FileSystem, Read, StatFs};
use super::MountTree;
use super::mount::Mount;
use super::view::{Child, Place, View};
use crate::destination::Destination;

/// Not to be kept.
const AT_ONCE: Duration = Duration::ZERO;

/// That a name does not exist where one may appear.
const ABSENT: Entry = Entry::absent(AT_ONCE);

impl MountTree {
    /// What a name of the tree leads to, with a reference. None when the mount
    /// there is being replaced: a later view knows what is there now.
    pub(super) fn enter(view: &View, child: &Child) -> Option<Result<Entry, Errno>> {
        let Some(number) = child.mount else {
            let directory = view.directories.get(&child.node);
            return Some(directory.ok_or(Errno::ESTALE).map(|directory| Entry {
                node: child.node,
                attr: directory.attr(),
                timeout: AT_ONCE,
            }));
        };
        let mount = view.mounts.get(&number)?;
        if !mount.hold_root() {
            return None;
        }
        let attr = mount
            .fs
            .getattr(ROOT)
            .and_then(|(attr, _)| mount.attr(attr));
        match attr {
            Ok(_) => mount.note_root(),
            Err(_) => mount.release_root(1),
        }
        Some(attr.map(|attr| Entry {
            node: child.node,
            attr,
            timeout: AT_ONCE,
        }))
    }

    /// Looks a name up in the current view. None: look again.
    fn find(&self, parent: u64, name: &[u8]) -> Option<Result<Entry, Errno>> {
        let view = self.view.load();
        let (mount, inner) = match view.place(parent) {
            Err(errno) => return Some(Err(errno)),
            Ok(Place::Mount(mount, inner)) => (mount, inner),
            Ok(Place::Tree(directory)) => {
                return match directory.names.get(name) {
                    Some(child) => Self::enter(&view, child),
                    None => Some(Ok(ABSENT)),
                };
            }
        };
        let graft = view.graft(parent);
        if let Some(child) = graft.and_then(|graft| graft.names.get(name)) {
            return Self::enter(&view, child);
        }
        let pin = self.pin(mount, parent)?;
        let found = mount.fs.lookup(inner, name).and_then(|entry| {
            if entry.node == 0 {
                let may_appear = inner == ROOT || graft.is_some();
                return Ok(if may_appear { ABSENT } else { entry });
            }
            let shown = mount.shown(entry);
            if shown.is_err() {
                mount.fs.forget(entry.node, 1);
            }
            shown
        });
        drop(pin);
        Some(found)
    }

    /// Keeps the mount behind a node while the guest gets new references below
    /// it. Only the root needs that, which the guest holds without being counted.
    /// None when the mount is being replaced: look again.
    pub(super) fn pin<'a>(&'a self, mount: &'a Arc<Mount>, node: u64) -> Option<Pin<'a>> {
        let pinned = node == ROOT;
        if pinned && !mount.hold_root() {
            return None;
        }
        Some(Pin {
            tree: self,
            mount,
            pinned,
        })
    }

    /// Drops references to a node of a mount.
    pub(super) fn let_go(&self, mount: &Arc<Mount>, inner: u64, count: u64) {
        if inner == ROOT {
            mount.forget_root(count);
        } else {
            mount.fs.forget(inner, count);
        }
        self.look_after(mount);
    }

    /// Has a mount that is over let go of.
    fn look_after(&self, mount: &Mount) {
        if mount.is_over() {
            self.reap_soon();
        }
    }
}

/// A mount that is not let go of until this is dropped.
pub(super) struct Pin<'a> {
    tree: &'a MountTree,
    mount: &'a Arc<Mount>,
    pinned: bool,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        if self.pinned {
            self.mount.release_root(1);
            self.tree.look_after(self.mount);
        }
    }
}

impl FileSystem for MountTree {
    fn init(&self) {
        let view = self.view.load();
        for mount in view.mounts.values() {
            mount.forget_all();
        }
        self.reap_soon();
    }

    fn agreed(&self, options: u64) {
        if let Some(ledger) = &*self.ledger.load() {
            ledger.agreed(options);
        }
    }

    fn agreement(&self) -> u64 {
        let ledger = self.ledger.load();
        ledger.as_ref().map_or(0, |ledger| ledger.options())
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno> {
        loop {
            if let Some(found) = self.find(parent, name) {
                return found;
            }
            std::thread::yield_now();
        }
    }

    fn forget(&self, node: u64, count: u64) {
        // The root is never forgotten, and the tree's directories are not counted.
        if node == ROOT {
            return;
        }
        let view = self.view.load();
        match view.place(node) {
            Ok(Place::Mount(mount, inner)) => self.let_go(mount, inner, count),
            Ok(Place::Tree(_)) | Err(_) => {}
        }
    }

    fn getattr(&self, node: u64) -> Result<(Attr, Duration), Errno> {
        match self.view.load().place(node)? {
            Place::Tree(directory) => Ok((directory.attr(), AT_ONCE)),
            Place::Mount(mount, inner) => {
                let (attr, timeout) = mount.fs.getattr(inner)?;
                Ok((mount.attr(attr)?, timeout))
            }
        }
    }

    fn readlink(&self, node: u64) -> Result<Vec<u8>, Errno> {
        match self.view.load().place(node)? {
            Place::Tree(_) => Err(Errno::EINVAL),
            Place::Mount(mount, inner) => mount.fs.readlink(inner),
        }
    }

    fn getxattr(&self, node: u64, name: &[u8]) -> Result<Vec<u8>, Errno> {
        match self.view.load().place(node)? {
            Place::Tree(_) => Err(Errno::ENODATA),
            Place::Mount(mount, inner) => mount.fs.getxattr(inner, name),
        }
    }

    fn listxattr(&self, node: u64) -> Result<Vec<u8>, Errno> {
        match self.view.load().place(node)? {
            Place::Tree(_) => Ok(Vec::new()),
            Place::Mount(mount, inner) => mount.fs.listxattr(inner),
        }
    }

    fn readdir(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        self.list(node, handle, offset, &mut |shown| add(shown))
    }

    fn readdirplus(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Option<Entry>) -> bool,
    ) -> Result<(), Errno> {
        loop {
            if let Some(listed) = self.list_plus(node, handle, offset, add) {
                return listed;
            }
            std::thread::yield_now();
        }
    }

    fn statfs(&self, node: u64) -> Result<StatFs, Errno> {
        let view = self.view.load();
        match view.place(node)? {
            Place::Tree(_) => Ok(StatFs::read_only(
                0,
                u64::try_from(view.directories.len()).unwrap_or(u64::MAX),
            )),
            Place::Mount(mount, inner) => mount.fs.statfs(inner),
        }
    }

    fn read(&self, node: u64, handle: u64, offset: u64, dest: &mut Destination<'_>) -> Read {
        match self.view.load().place(node) {
            Ok(Place::Mount(mount, inner)) => mount.fs.read(inner, handle, offset, dest),
            Ok(Place::Tree(_)) => Read::Ready(Err(Errno::EISDIR)),
            Err(errno) => Read::Ready(Err(errno)),
        }
    }

    fn perform(&self, caller: Caller, node: u64, operation: Operation<'_>) -> Result<Reply, Errno> {
        self.pass_on(caller, node, operation)
    }

    fn wants(&self) -> Wants {
        let mut wants = self.view.load().wants;
        wants.opens |= self.hybrid.load(Ordering::Relaxed);
        wants
    }

    fn count(&self, node: u64, with: &mut dyn FnMut(&Arc<Stats>)) -> bool {
        match self.view.load().place(node) {
            Ok(Place::Mount(mount, _)) => {
                with(&mount.stats);
                true
            }
            Ok(Place::Tree(_)) | Err(_) => false,
        }
    }
}
