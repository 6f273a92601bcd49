//! The nodes that a guest holds.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use parking_lot::RwLock;

use super::descriptors::Held;
use super::file_handle::FileHandle;
use super::found::Finder;
use super::host::{self, Stat};
use super::keep::{CHANGING, Identity, MARK, Record, STEP, changing};
use crate::fs::Errno;
use crate::fs::nodes::ROOT;
use crate::state::{Saved, Slot as Place, Slots};

/// Node ids have 40 bits, which is what the tree of mounts leaves.
const LAST: u64 = (1 << 40) - 1;

/// How often the nodes that were not found are looked for in directories that were:
/// a guest can nest directories against the order in which it looked them up.
const PASSES: usize = 100;

/// What makes a node: device, mount and inode number. The descriptor keeps all
/// three from being used again.
type Key = (u64, u64, u64);

/// A node of the host.
pub(super) struct Inode {
    key: Key,
    file_type: u32,
    fd: Held,
}

impl Inode {
    /// The node behind a descriptor.
    pub(super) fn new(stat: &Stat, fd: Held) -> Self {
        Self {
            key: (stat.dev, stat.mount, stat.ino),
            file_type: stat.file_type(),
            fd,
        }
    }

    /// Its descriptor, which names it and does nothing else.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Device number of its file system.
    pub(super) fn dev(&self) -> u64 {
        self.key.0
    }

    /// Number of its mount.
    pub(super) fn mount(&self) -> u64 {
        self.key.1
    }

    /// Type bits of its mode.
    pub(super) fn file_type(&self) -> u32 {
        self.file_type
    }

    /// What it is found again by.
    fn identity(&self) -> Identity {
        Identity {
            key: self.key,
            birth: host::birth(self.fd()),
            file_type: self.file_type,
            handle: FileHandle::of(self.fd()).ok(),
        }
    }

    /// It, written down as the root.
    fn record(&self) -> Vec<u8> {
        let record = Record {
            id: ROOT,
            identity: self.identity(),
            references: 1,
            parent: ROOT,
            name: Vec::new(),
        };
        record.write()
    }

    /// # Errors
    /// `ENOTDIR` when it is no directory.
    pub(super) fn directory(&self) -> Result<BorrowedFd<'_>, Errno> {
        match self.file_type {
            libc::S_IFDIR => Ok(self.fd()),
            _ => Err(Errno::ENOTDIR),
        }
    }
}

/// A node with what is held of it.
struct Node {
    inode: Arc<Inode>,
    references: u64,
    place: Place,
}

#[derive(Default)]
struct Table {
    nodes: HashMap<u64, Node>,
    keys: HashMap<Key, u64>,
    /// Ids up to this one are written down as used.
    reserved: u64,
}

/// What became of the nodes of a daemon before this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Recovered {
    /// Found again.
    pub(super) found: usize,
    /// Not found.
    pub(super) lost: usize,
}

/// The table of held nodes. There is one per inode and mount, however often it is
/// looked up; ids are never used twice.
pub(super) struct Inodes {
    root: Arc<Inode>,
    table: RwLock<Table>,
    last: AtomicU64,
    kept: Option<Slots>,
}

impl Inodes {
    /// A table in which only the root is held.
    pub(super) fn new(root: Inode) -> Self {
        Self {
            root: Arc::new(root),
            table: RwLock::default(),
            last: AtomicU64::new(ROOT),
            kept: None,
        }
    }

    /// Finds what is `saved`, and writes down changes from now on. None when the root
    /// is another directory than it was.
    pub(super) fn keep(&mut self, slots: Slots, saved: &Saved) -> Option<Recovered> {
        let root = self.root.identity();
        let mut before = root;
        let mut records = Vec::with_capacity(saved.records.len());
        let mut has_root = false;
        for (place, bytes) in &saved.records {
            match Record::read(bytes) {
                Some(record) if record.id == ROOT => {
                    has_root = true;
                    before = record.identity;
                }
                Some(record) if record.references > 0 => records.push((*place, record)),
                _ => slots.free(*place),
            }
        }
        let stat = Stat::of(self.root.fd()).ok()?;
        if !before.is(self.root.fd(), &stat, before.handle == root.handle) {
            return None;
        }
        let table = self.table.get_mut();
        if !has_root {
            slots.add(&self.root.record());
        }
        let mut finder = Finder::new(self.root.fd(), root.key.1, before.key.1);
        let mut done = Recovered::default();
        // A directory is looked up before what is in it, unless that was moved there.
        records.sort_unstable_by_key(|(_, record)| record.id);
        for pass in 0..PASSES {
            let left = records.len();
            records.retain(|(place, record)| {
                let parent = match record.parent {
                    ROOT => Some(&self.root),
                    parent => table.nodes.get(&parent).map(|node| &node.inode),
                };
                let parent = parent.map(Arc::clone);
                // Handles lead there at once or never.
                let found = match pass {
                    0 => finder.find(record, parent.as_deref()),
                    _ => Finder::by_name(record, parent.as_deref()),
                };
                let Some((fd, stat)) = found else {
                    return true;
                };
                let Ok(fd) = Held::new(fd) else {
                    return true;
                };
                let inode = Arc::new(Inode::new(&stat, fd));
                table.keys.insert(inode.key, record.id);
                let node = Node {
                    inode,
                    references: record.references,
                    place: *place,
                };
                table.nodes.insert(record.id, node);
                done.found += 1;
                false
            });
            // Those that were found may be the directories of others.
            if records.is_empty() || records.len() == left {
                break;
            }
        }
        for (place, _) in &records {
            slots.free(*place);
        }
        done.lost = records.len();
        table.reserved = saved.reserved;
        self.last = AtomicU64::new(saved.reserved.max(ROOT));
        self.kept = Some(slots);
        Some(done)
    }

    /// The node with an id.
    ///
    /// # Errors
    /// `ESTALE` when it is not held.
    pub(super) fn get(&self, node: u64) -> Result<Arc<Inode>, Errno> {
        if node == ROOT {
            return Ok(Arc::clone(&self.root));
        }
        let table = self.table.read();
        let found = table.nodes.get(&node);
        found
            .map(|node| Arc::clone(&node.inode))
            .ok_or(Errno::ESTALE)
    }

    /// Adds a reference to the node behind `fd`, which has this name in the directory
    /// `parent`; returns its id.
    ///
    /// # Errors
    /// `EIO` when all ids were used.
    pub(super) fn enter(
        &self,
        stat: &Stat,
        fd: Held,
        (parent, name): (u64, &[u8]),
    ) -> Result<u64, Errno> {
        let key = (stat.dev, stat.mount, stat.ino);
        if key == self.root.key {
            return Ok(ROOT);
        }
        let mut table = self.table.write();
        let table = &mut *table;
        if let Some(&node) = table.keys.get(&key)
            && let Some(known) = table.nodes.get_mut(&node)
        {
            known.references = known.references.saturating_add(1);
            if let Some(kept) = &self.kept {
                let bytes = changing(known.references, parent, name);
                kept.put(known.place, CHANGING, &bytes);
            }
            return Ok(node);
        }
        let node = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        if node > LAST {
            return Err(Errno::EIO);
        }
        let mut place = Place::NONE;
        if let Some(kept) = &self.kept {
            if node > table.reserved {
                table.reserved = node + STEP;
                kept.reserve(table.reserved);
            }
            let record = Record {
                id: node,
                identity: Identity::of(fd.as_fd(), stat),
                references: 1,
                parent,
                name: name.to_vec(),
            };
            place = kept.add(&record.write());
        }
        let inode = Arc::new(Inode::new(stat, fd));
        table.keys.insert(key, node);
        let new = Node {
            inode,
            references: 1,
            place,
        };
        table.nodes.insert(node, new);
        Ok(node)
    }

    /// Whether changes are written down.
    pub(super) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// The mark that is written down for a node.
    pub(super) fn mark(&self, stat: &Stat) -> Option<u64> {
        let place = self.place(stat)?;
        let record = self.kept.as_ref()?.get(place)?;
        let mark = record.get(MARK..MARK + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(mark))
    }

    /// Writes a mark down for a node.
    pub(super) fn set_mark(&self, stat: &Stat, mark: u64) {
        if let (Some(place), Some(kept)) = (self.place(stat), &self.kept) {
            kept.put(place, MARK, &mark.to_le_bytes());
        }
    }

    fn place(&self, stat: &Stat) -> Option<Place> {
        let table = self.table.read();
        let node = table.keys.get(&(stat.dev, stat.mount, stat.ino))?;
        Some(table.nodes.get(node)?.place)
    }

    /// Notes that a node has another name now.
    pub(super) fn rename(&self, stat: &Stat, parent: u64, name: &[u8]) {
        // Under the lock for writing, as all that is written down.
        let table = self.table.write();
        let node = table.keys.get(&(stat.dev, stat.mount, stat.ino));
        if let (Some(kept), Some(known)) = (&self.kept, node.and_then(|node| table.nodes.get(node)))
        {
            let bytes = changing(known.references, parent, name);
            kept.put(known.place, CHANGING, &bytes);
        }
    }

    /// Drops references; the last one closes the descriptor.
    pub(super) fn forget(&self, node: u64, count: u64) {
        let mut table = self.table.write();
        let table = &mut *table;
        if let Slot::Occupied(mut slot) = table.nodes.entry(node) {
            let node = slot.get_mut();
            node.references = node.references.saturating_sub(count);
            if node.references > 0 {
                if let Some(kept) = &self.kept {
                    kept.put(node.place, CHANGING, &node.references.to_le_bytes());
                }
                return;
            }
            let node = slot.remove();
            table.keys.remove(&node.inode.key);
            if let Some(kept) = &self.kept {
                kept.free(node.place);
            }
        }
    }

    /// Drops all references.
    pub(super) fn clear(&self) {
        let mut table = self.table.write();
        let new = Table {
            reserved: table.reserved,
            ..Table::default()
        };
        let old = std::mem::replace(&mut *table, new);
        if let Some(kept) = &self.kept {
            kept.clear();
            kept.add(&self.root.record());
        }
        drop(table);
        // Descriptors are closed outside the lock.
        drop(old);
    }

    /// One held node of each file system, the root's first.
    pub(super) fn of_each_device(&self) -> Vec<Arc<Inode>> {
        let table = self.table.read();
        let mut found: HashMap<u64, Arc<Inode>> = HashMap::new();
        found.insert(self.root.dev(), Arc::clone(&self.root));
        for Node { inode, .. } in table.nodes.values() {
            if matches!(inode.file_type, libc::S_IFDIR | libc::S_IFREG) {
                found
                    .entry(inode.dev())
                    .or_insert_with(|| Arc::clone(inode));
            }
        }
        found.into_values().collect()
    }

    /// Nodes that are held, the root not counted.
    pub(super) fn len(&self) -> usize {
        self.table.read().nodes.len()
    }
}
