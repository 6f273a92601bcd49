//! The file system over an image and a chunk store.

mod listing;
mod reads;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;

use self::reads::OpenGroup;
use crate::bounded_cache::bounded;
use crate::destination::Destination;
use crate::fs::id_mapping::IdMapping;
use crate::fs::nodes::{Held, Holder, Nodes, RECORD, ROOT};
use crate::fs::touches::Touches;
use crate::fs::{Attr, BLOCK_SIZE, DirEntry, Entry, Errno, FileSystem, Read, StatFs};
use crate::image::group;
use crate::image::model::NAME_MAX;
use crate::image::{Content, Image, ImageError, Node, NodeRef};
use crate::log_limit::LogLimit;
use crate::state::{Slots, StateError};
use crate::store::Store;

/// How long a guest may keep names and attributes: an image never changes.
const TIMEOUT: Duration = Duration::from_secs(86_400);

/// That a name does not exist is as lasting as what does.
const ABSENT: Entry = Entry::absent(TIMEOUT);

/// Chunk groups of files that are kept for reading.
const OPEN_GROUPS: usize = 4096;

/// An image, served.
pub struct ImageFs {
    image: Arc<Image>,
    store: Arc<Store>,
    nodes: Nodes,
    open: Cache<(u64, u64), Arc<OpenGroup>>,
    touches: Option<Arc<Touches>>,
    ids: Option<IdMapping>,
    failures: LogLimit,
}

impl ImageFs {
    /// A file system over `image`, whose chunks come from `store`.
    pub fn new(image: Arc<Image>, store: Arc<Store>) -> Self {
        let nodes = Nodes::new(image.root());
        let open = bounded(OPEN_GROUPS, OPEN_GROUPS as u64, UnitWeighter);
        Self {
            image,
            store,
            nodes,
            open,
            touches: None,
            ids: None,
            failures: LogLimit::new(),
        }
    }

    /// The same, noting first reads in `touches`.
    pub fn noting(mut self, touches: Option<Arc<Touches>>) -> Self {
        self.touches = touches;
        self
    }

    /// The same, showing owners under other numbers.
    pub fn mapping(mut self, ids: Option<IdMapping>) -> Self {
        self.ids = ids;
        self
    }

    /// The same, writing down in the file at `path` what the guest holds, which is
    /// what a daemon before this one wrote there. The image must be the one that it
    /// served.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn keeping(mut self, path: &Path) -> Result<Self, StateError> {
        let (slots, saved) = Slots::open(path, RECORD)?;
        self.nodes.keep(slots, &saved);
        Ok(self)
    }

    /// The chunk store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Requests that failed because metadata could not be read or proved.
    pub fn failures(&self) -> u64 {
        self.failures.total()
    }

    fn io_error(&self, error: &ImageError) -> Errno {
        if let Some(number) = self.failures.count() {
            log::error!("{error} (failed request {number})");
        }
        Errno::EIO
    }

    fn held(&self, node: u64) -> Result<Held, Errno> {
        self.nodes.get(node).ok_or(Errno::ESTALE)
    }

    fn node(&self, node: &NodeRef) -> Result<Arc<Node>, Errno> {
        self.image.node(node).map_err(|error| self.io_error(&error))
    }

    fn attr(&self, id: u64, node: &Node) -> Attr {
        let attr = &node.attr;
        let shown = |id: u32| self.ids.map_or(id, |ids| ids.shown(id));
        Attr {
            ino: if id == ROOT {
                self.image.root().nid
            } else {
                id
            },
            mode: attr.st_mode(),
            nlink: attr.nlink,
            uid: shown(attr.uid),
            gid: shown(attr.gid),
            rdev: attr.rdev,
            size: attr.size,
            blocks: attr.blocks(),
            mtime: (attr.mtime, attr.mtime_ns),
            other_times: None,
            block_size: BLOCK_SIZE,
            submount: false,
        }
    }

    /// Loads the node behind a directory's entry and takes a reference to it.
    fn enter(&self, parent: u64, entry: &group::Entry, holder: Holder) -> Result<Entry, Errno> {
        let child = self
            .image
            .resolve(entry)
            .map_err(|error| self.io_error(&error))?;
        let node = self.node(&child)?;
        if node.attr.file_type != entry.file_type {
            let error = self.image.contradiction(node.nid);
            return Err(self.io_error(&error));
        }
        let id = self.nodes.id(&child).ok_or(Errno::EIO)?;
        let is_directory = matches!(node.content, Content::Directory(_));
        if !self.nodes.hold(id, (child, parent), is_directory, holder) {
            self.nodes.forget(id, 1, holder);
            let error = self.image.misplaced(node.nid);
            return Err(self.io_error(&error));
        }
        Ok(Entry {
            node: id,
            attr: self.attr(id, &node),
            timeout: TIMEOUT,
        })
    }

    /// The node with `name` in a directory, with a reference.
    fn find(&self, parent: u64, name: &[u8], holder: Holder) -> Result<Entry, Errno> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let loaded = self.node(&self.held(parent)?.node)?;
        let Content::Directory(directory) = &loaded.content else {
            return Err(Errno::ENOTDIR);
        };
        let found = self
            .image
            .find(directory, name)
            .map_err(|error| self.io_error(&error))?;
        match found {
            Some(entry) => self.enter(parent, &entry, holder),
            None => Ok(ABSENT),
        }
    }
}

impl FileSystem for ImageFs {
    fn init(&self) {
        self.nodes.clear();
        self.open.clear();
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno> {
        self.find(parent, name, Holder::Guest)
    }

    fn forget(&self, node: u64, count: u64) {
        self.nodes.forget(node, count, Holder::Guest);
    }

    fn hold(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno> {
        self.find(parent, name, Holder::Tree)
    }

    fn let_go(&self, node: u64) {
        self.nodes.forget(node, 1, Holder::Tree);
    }

    fn getattr(&self, node: u64) -> Result<(Attr, Duration), Errno> {
        let loaded = self.node(&self.held(node)?.node)?;
        Ok((self.attr(node, &loaded), TIMEOUT))
    }

    fn readlink(&self, node: u64) -> Result<Vec<u8>, Errno> {
        let loaded = self.node(&self.held(node)?.node)?;
        match &loaded.content {
            Content::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn getxattr(&self, node: u64, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let loaded = self.node(&self.held(node)?.node)?;
        loaded.xattr(name).map(<[u8]>::to_vec).ok_or(Errno::ENODATA)
    }

    fn listxattr(&self, node: u64) -> Result<Vec<u8>, Errno> {
        let loaded = self.node(&self.held(node)?.node)?;
        let mut names = Vec::new();
        for (name, _) in &loaded.xattrs {
            names.extend_from_slice(name);
            names.push(0);
        }
        Ok(names)
    }

    fn readdir(
        &self,
        node: u64,
        _handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        self.list(node, offset, &mut |shown, _| add(shown))
    }

    fn readdirplus(
        &self,
        node: u64,
        _handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Option<Entry>) -> bool,
    ) -> Result<(), Errno> {
        self.list(node, offset, &mut |shown, entry| {
            // A child that cannot be proved is shown by name; the guest's own
            // LOOKUP gets the error.
            let entered = entry.and_then(|entry| self.enter(node, entry, Holder::Guest).ok());
            let fits = add(shown, entered);
            if let (false, Some(entered)) = (fits, entered) {
                self.nodes.forget(entered.node, 1, Holder::Guest);
            }
            fits
        })
    }

    fn statfs(&self, _node: u64) -> Result<StatFs, Errno> {
        let summary = self.image.summary();
        Ok(StatFs::read_only(summary.blocks, summary.inodes))
    }

    fn is_held(&self) -> bool {
        !self.nodes.is_empty()
    }

    fn read(&self, node: u64, _handle: u64, offset: u64, dest: &mut Destination<'_>) -> Read {
        self.read_file(node, offset, dest)
    }
}
