//! Listings of the tree: its own directories, those of mounts, and both at once.

use std::sync::Arc;

use super::super::nodes::ROOT;
use super::super::{DirEntry, Entry, Errno};
use super::MountTree;
use super::mount::Mount;
use super::view::{Child, Directory, Place, View};

/// `DT_DIR`.
const DIRECTORY: u8 = 4;

/// Cookies from here on are serials of names that the tree adds; those below
/// are the file system's.
const ADDED: u64 = 1 << 63;

/// What takes entries, with LOOKUPs if it wants them.
type Add<'a> = &'a mut dyn FnMut(DirEntry<'_>, Option<Entry>) -> bool;

impl MountTree {
    /// Lists a directory without LOOKUPs.
    pub(super) fn list(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        let view = self.view.load();
        let (mount, inner) = match view.place(node)? {
            Place::Tree(directory) => {
                let mut add = |shown: DirEntry<'_>, _| add(shown);
                self.own(&view, directory, offset, false, &mut add);
                return Ok(());
            }
            Place::Mount(mount, inner) => (mount, inner),
        };
        let graft = view.graft(node);
        let mut fits = true;
        if offset < ADDED {
            mount.fs.readdir(inner, handle, offset, &mut |shown| {
                if graft.is_some_and(|graft| graft.names.contains_key(shown.name)) {
                    return true;
                }
                fits = add(outside(mount, shown));
                fits
            })?;
        }
        if let (true, Some(graft)) = (fits, graft) {
            let mut add = |shown: DirEntry<'_>, _| add(shown);
            self.names(&view, graft, offset, false, &mut add);
        }
        Ok(())
    }

    /// Lists a directory with a LOOKUP of each entry. None: ask again, in a later
    /// view.
    pub(super) fn list_plus(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        add: Add<'_>,
    ) -> Option<Result<(), Errno>> {
        let view = self.view.load();
        let (mount, inner) = match view.place(node) {
            Err(errno) => return Some(Err(errno)),
            Ok(Place::Tree(directory)) => {
                self.own(&view, directory, offset, true, add);
                return Some(Ok(()));
            }
            Ok(Place::Mount(mount, inner)) => (mount, inner),
        };
        let pin = self.pin(mount, node)?;
        let graft = view.graft(node);
        let mut fits = true;
        if offset < ADDED {
            let listed = mount
                .fs
                .readdirplus(inner, handle, offset, &mut |shown, entry| {
                    let hidden = graft.is_some_and(|graft| graft.names.contains_key(shown.name));
                    // What cannot be shown is listed by name; LOOKUP says why.
                    let given = entry.filter(|_| !hidden);
                    let given = given.and_then(|entry| mount.shown(entry).ok());
                    fits = hidden || add(outside(mount, shown), given);
                    if let (true, Some(entry), None) = (fits, entry, given) {
                        mount.fs.forget(entry.node, 1);
                    }
                    fits
                });
            if let Err(errno) = listed {
                return Some(Err(errno));
            }
        }
        if let (true, Some(graft)) = (fits, graft) {
            self.names(&view, graft, offset, true, add);
        }
        drop(pin);
        Some(Ok(()))
    }

    /// A directory of the tree: `.`, `..` and its names.
    fn own(&self, view: &View, directory: &Directory, offset: u64, plus: bool, add: Add<'_>) {
        let dots = [(&b"."[..], directory.node), (&b".."[..], directory.parent)];
        for (next, (name, ino)) in (1..).zip(dots) {
            let shown = DirEntry {
                ino,
                kind: DIRECTORY,
                name,
                next,
            };
            if offset < next && !add(shown, None) {
                return;
            }
        }
        self.names(view, directory, offset, plus, add);
    }

    /// The names of a directory from a cookie on, in the order in which they
    /// appeared: who comes or goes meanwhile does not shift the others.
    fn names(&self, view: &View, directory: &Directory, offset: u64, plus: bool, add: Add<'_>) {
        let behind = offset.checked_sub(ADDED).map_or(0, |serial| serial + 1);
        for (&serial, name) in directory.order.range(behind..) {
            let Some(child) = directory.names.get(name) else {
                continue;
            };
            // What is being replaced is listed and found by LOOKUP.
            let entry = plus
                .then(|| Self::enter(view, child).and_then(Result::ok))
                .flatten();
            let shown = DirEntry {
                ino: entry.map_or_else(|| ino(view, child), |entry| entry.attr.ino),
                kind: DIRECTORY,
                name,
                next: ADDED + serial,
            };
            if !add(shown, entry) {
                if let (Some(entry), Some(number)) = (entry, child.mount)
                    && let Some(mount) = view.mounts.get(&number)
                {
                    debug_assert_eq!(entry.node, child.node);
                    self.let_go(mount, ROOT, 1);
                }
                return;
            }
        }
    }
}

/// An entry of a mount with the inode number of the device.
fn outside<'a>(mount: &Arc<Mount>, shown: DirEntry<'a>) -> DirEntry<'a> {
    DirEntry {
        ino: mount.node(shown.ino).unwrap_or(shown.ino),
        ..shown
    }
}

/// The inode number of what a name leads to.
fn ino(view: &View, child: &Child) -> u64 {
    let mount = child.mount.and_then(|number| view.mounts.get(&number));
    let attr = mount.and_then(|mount| {
        let (attr, _) = mount.fs.getattr(ROOT).ok()?;
        mount.attr(attr).ok()
    });
    attr.map_or(child.node, |attr| attr.ino)
}
