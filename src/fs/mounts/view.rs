//! What the tree is at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hashbrown::HashMap;

use super::super::nodes::ROOT;
use super::super::operation::Wants;
use super::super::{Attr, BLOCK_SIZE, Entry, Errno};
use super::mount::Mount;
use super::number::{self, TREE};
use super::path::MountPath;

/// Type and permissions of the tree's own directories.
const MODE: u32 = libc::S_IFDIR | 0o755;

/// All that requests need to find their way.
#[derive(Default)]
pub(super) struct View {
    /// Those that are attached and those that linger, by number.
    pub(super) mounts: HashMap<u32, Arc<Mount>>,
    /// What is mounted at `/`.
    pub(super) root: Option<Arc<Mount>>,
    /// The tree's own directories, and the names that it adds to directories of
    /// mounts, by node id.
    pub(super) directories: HashMap<u64, Directory>,
    /// Whether there are such names.
    pub(super) grafted: bool,
    /// What mounts want of a session, taken together.
    pub(super) wants: Wants,
    /// Directories of mounts on the way to names of the tree. A directory of the
    /// host has its node id only as long as somebody holds it.
    _held: Walk,
}

/// Names that the tree gives.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Directory {
    pub(super) node: u64,
    /// Node id of the directory above.
    pub(super) parent: u64,
    pub(super) names: HashMap<Box<[u8]>, Child>,
    /// The same in the order of their numbers, for listings that go on.
    pub(super) order: BTreeMap<u64, Box<[u8]>>,
    /// When a name came or went, since 1970.
    changed: (i64, u32),
}

/// What a name leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Child {
    /// Node id.
    pub(super) node: u64,
    /// Number of the mount whose root it is; none for a directory of the tree.
    pub(super) mount: Option<u32>,
    /// Unique and never used again, unlike the name.
    pub(super) serial: u64,
}

/// Serial numbers of the paths that are in use.
#[derive(Debug, Default)]
pub(super) struct Points {
    serials: HashMap<MountPath, u64>,
    last: u64,
}

impl Points {
    fn serial(&mut self, path: &MountPath) -> u64 {
        let last = &mut self.last;
        let next = || {
            *last += 1;
            *last + ROOT
        };
        *self.serials.entry_ref(path).or_insert_with(next)
    }

    /// Those that are in use, and the last that was given.
    pub(super) fn given(&self) -> (BTreeMap<String, u64>, u64) {
        let serials = self.serials.iter();
        let serials = serials.map(|(path, &serial)| (path.to_string(), serial));
        (serials.collect(), self.last)
    }

    /// Goes on where another daemon was.
    pub(super) fn take_up(&mut self, serials: &BTreeMap<String, u64>, last: u64) {
        self.last = self.last.max(last);
        for (path, &serial) in serials {
            if let Ok(path) = path.parse() {
                self.last = self.last.max(serial.saturating_sub(ROOT));
                self.serials.insert(path, serial);
            }
        }
    }
}

/// Where a request goes.
pub(super) enum Place<'a> {
    /// To a directory of the tree.
    Tree(&'a Directory),
    /// To a mount, with the node's id there.
    Mount(&'a Arc<Mount>, u64),
}

impl View {
    /// What stands behind a node id.
    ///
    /// # Errors
    /// `ESTALE` when it is gone or never was.
    pub(super) fn place(&self, node: u64) -> Result<Place<'_>, Errno> {
        if node == ROOT
            && let Some(root) = &self.root
        {
            return Ok(Place::Mount(root, ROOT));
        }
        let (mount, inner) = number::split(node);
        if let Some(mount) = self.mounts.get(&mount)
            && node != ROOT
        {
            return Ok(Place::Mount(mount, inner));
        }
        let directory = self.directories.get(&node);
        directory.map(Place::Tree).ok_or(Errno::ESTALE)
    }

    /// The names that the tree adds to a directory of a mount.
    pub(super) fn graft(&self, node: u64) -> Option<&Directory> {
        if !self.grafted {
            return None;
        }
        self.directories.get(&node)
    }

    /// Puts together what is mounted where. Directories that did not change
    /// since `before` keep their time.
    pub(super) fn build(
        before: &Self,
        attached: &BTreeMap<MountPath, Arc<Mount>>,
        lingering: &[Arc<Mount>],
        points: &mut Points,
    ) -> Self {
        let mut view = Self::default();
        for mount in attached.values().chain(lingering) {
            view.mounts.insert(mount.number, Arc::clone(mount));
            let wants = mount.fs.wants();
            view.wants.opens |= wants.opens;
            view.wants.posix_acl |= wants.posix_acl;
            view.wants.plain_listings |= wants.plain_listings;
            view.wants.writeback |= wants.writeback;
            view.wants.shared_maps |= wants.shared_maps;
        }
        view.root = attached.get(&MountPath::default()).map(Arc::clone);
        let paths = with_parents(attached.keys());
        points.serials.retain(|path, _| paths.contains(path));
        let mut walk = Walk::default();
        let mut spots: BTreeMap<&MountPath, Spot> = BTreeMap::new();
        for path in &paths {
            let above = path.parent().and_then(|parent| spots.get(&parent).cloned());
            let spot = view.add(path, attached.get(path), above.as_ref(), points, &mut walk);
            spots.insert(path, spot);
        }
        view._held = walk;
        view.grafted = view
            .directories
            .keys()
            .any(|&node| matches!(view.place(node), Ok(Place::Mount(..))));
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        for (node, directory) in &mut view.directories {
            directory.changed = match before.directories.get(node) {
                Some(old) if old.names == directory.names => old.changed,
                _ => (seconds, now.subsec_nanos()),
            };
        }
        view
    }

    /// Adds what is at one path, below what is `above`.
    fn add(
        &mut self,
        path: &MountPath,
        mounted: Option<&Arc<Mount>>,
        above: Option<&Spot>,
        points: &mut Points,
        walk: &mut Walk,
    ) -> Spot {
        let Some((above, name)) = above.zip(path.name()) else {
            if mounted.is_none() {
                self.add_directory(ROOT, ROOT);
            }
            let inside = mounted.map(|mount| (Arc::clone(mount), ROOT));
            return Spot { node: ROOT, inside };
        };
        let serial = points.serial(path);
        let root_of = |mount: &Arc<Mount>| number::join(mount.number, ROOT);
        let (node, inside) = match mounted {
            Some(mount) => (root_of(mount), Some((Arc::clone(mount), ROOT))),
            None => {
                let inside = above.inside.as_ref();
                if let Some((mount, directory)) = inside
                    && let Some(found) = walk.directory(mount, *directory, name)
                    && let Ok(node) = mount.node(found)
                {
                    // The mount has the directory itself.
                    let inside = Some((Arc::clone(mount), found));
                    return Spot { node, inside };
                }
                (number::join(TREE, serial), None)
            }
        };
        // Serials have far fewer than 40 bits; node 0 is nobody's.
        let node = node.unwrap_or_default();
        if mounted.is_none() {
            self.add_directory(node, above.node);
        }
        let names = self.directories.entry(above.node).or_default();
        names.node = above.node;
        let child = Child {
            node,
            mount: mounted.map(|mount| mount.number),
            serial,
        };
        names.names.insert(name.as_bytes().into(), child);
        names.order.insert(serial, name.as_bytes().into());
        Spot { node, inside }
    }

    fn add_directory(&mut self, node: u64, parent: u64) {
        let directory = Directory {
            node,
            parent,
            ..Directory::default()
        };
        self.directories.insert(node, directory);
    }
}

impl Directory {
    /// Attributes of a directory of the tree.
    pub(super) fn attr(&self) -> Attr {
        Attr {
            ino: self.node,
            mode: MODE,
            nlink: 2,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blocks: 0,
            mtime: self.changed,
            other_times: None,
            block_size: BLOCK_SIZE,
            submount: false,
        }
    }
}

/// What a path leads to while a view is made.
#[derive(Clone)]
struct Spot {
    node: u64,
    /// The mount and the id there, if it is a directory of one.
    inside: Option<(Arc<Mount>, u64)>,
}

/// Paths, and all above them, the root in any case.
fn with_parents<'a>(paths: impl Iterator<Item = &'a MountPath>) -> BTreeSet<MountPath> {
    let mut all = BTreeSet::from([MountPath::default()]);
    for path in paths {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            at = path.parent();
            if !all.insert(path) {
                break;
            }
        }
    }
    all
}

/// Looks into mounts for directories, and holds those until its end.
#[derive(Default)]
struct Walk {
    held: Vec<(Arc<Mount>, u64)>,
}

impl Walk {
    fn directory(&mut self, mount: &Arc<Mount>, parent: u64, name: &str) -> Option<u64> {
        let found: Entry = mount.fs.hold(parent, name.as_bytes()).ok()?;
        if found.node == 0 {
            return None;
        }
        if found.attr.mode & libc::S_IFMT != libc::S_IFDIR {
            mount.fs.let_go(found.node);
            return None;
        }
        self.held.push((Arc::clone(mount), found.node));
        Some(found.node)
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        for (mount, node) in self.held.drain(..) {
            mount.fs.let_go(node);
        }
    }
}
