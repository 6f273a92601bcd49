//! The file system over an image and a chunk store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;

use crate::bounded_cache::bounded;
use crate::chunk::Chunk;
use crate::destination::Destination;
use crate::fs::id_mapping::IdMapping;
use crate::fs::nodes::{Held, Holder, Nodes, RECORD, ROOT};
use crate::fs::touches::{FirstReads, Touches};
use crate::fs::{Attr, BLOCK_SIZE, DirEntry, Entry, Errno, FileSystem, PendingRead, Read, StatFs};
use crate::image::group;
use crate::image::model::NAME_MAX;
use crate::image::{Content, Directory, Image, ImageError, Node, NodeRef};
use crate::log_limit::LogLimit;
use crate::state::{Slots, StateError};
use crate::store::Store;

/// How long a guest may keep names and attributes: an image never changes.
const TIMEOUT: Duration = Duration::from_secs(86_400);

/// That a name does not exist is as lasting as what does.
const ABSENT: Entry = Entry::absent(TIMEOUT);

/// Chunk groups of files that are kept for reading.
const OPEN_GROUPS: usize = 4096;

/// Directory cookies 0, 1 and 2 stand before `.`, `..` and the first entry.
const FIRST_ENTRY: u64 = 2;

/// Bits of a cookie that hold the position inside a group.
const POSITION_BITS: u32 = 16;

/// What a read needs to know of a file: its size and some of its chunks.
#[derive(Debug)]
struct OpenGroup {
    node: NodeRef,
    size: u64,
    start: u64,
    chunks: Arc<[Chunk]>,
    reads: FirstReads,
}

/// A part of a chunk that a read wants.
#[derive(Clone, Copy, Debug)]
struct Piece {
    chunk: Chunk,
    from: u32,
    len: u32,
}

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

    /// Calls `add` with the entries of a directory from cookie `offset` on.
    fn list(
        &self,
        node: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Option<&group::Entry>) -> bool,
    ) -> Result<(), Errno> {
        let held = self.held(node)?;
        let loaded = self.node(&held.node)?;
        let Content::Directory(directory) = &loaded.content else {
            return Err(Errno::ENOTDIR);
        };
        for (cookie, name, id) in [(0, &b"."[..], node), (1, &b".."[..], held.parent)] {
            if offset > cookie {
                continue;
            }
            let ino = if id == ROOT {
                self.image.root().nid
            } else {
                id
            };
            if !add(
                DirEntry {
                    ino,
                    kind: 4,
                    name,
                    next: cookie + 1,
                },
                None,
            ) {
                return Ok(());
            }
        }
        let cursor = offset.saturating_sub(FIRST_ENTRY);
        let mut position = usize::try_from(cursor & ((1 << POSITION_BITS) - 1)).unwrap_or(0);
        for number in (cursor >> POSITION_BITS)..directory.groups() {
            let group = self.group(directory, number)?;
            while let Some((name, entry)) = group.get(position) {
                position += 1;
                let next = FIRST_ENTRY + ((number << POSITION_BITS) | position as u64);
                let kind = entry.file_type.code();
                let shown = DirEntry {
                    ino: entry.target.nid(),
                    kind,
                    name,
                    next,
                };
                if !add(shown, Some(entry)) {
                    return Ok(());
                }
            }
            position = 0;
        }
        Ok(())
    }

    fn group(&self, directory: &Directory, number: u64) -> Result<Arc<group::Group>, Errno> {
        self.image
            .group(directory, number)
            .map_err(|error| self.io_error(&error))
    }

    /// The chunks of file `node` around byte `offset`.
    fn open_group(&self, node: u64, offset: u64) -> Result<Arc<OpenGroup>, Errno> {
        let chunk_size = u64::from(self.image.summary().chunk_size);
        let position = offset / chunk_size;
        let key = (node, position / crate::image::proof::FANOUT as u64);
        let held = self.held(node)?.node;
        // A node number proves nothing: what is kept under it must be of the
        // very node that the guest holds.
        if let Some(found) = self.open.get(&key).filter(|found| found.node == held) {
            return Ok(found);
        }
        let loaded = self.node(&held)?;
        let file = match &loaded.content {
            Content::File(file) => file,
            Content::Directory(_) => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        };
        let size = loaded.attr.size;
        if position >= file.chunks() {
            return Ok(Arc::new(OpenGroup {
                node: held,
                size,
                start: position,
                chunks: Arc::new([]),
                reads: FirstReads::new(false),
            }));
        }
        let group = self
            .image
            .chunk_group(file, size, position)
            .map_err(|error| self.io_error(&error))?;
        let group = Arc::new(OpenGroup {
            node: held,
            size,
            start: group.start,
            chunks: group.chunks,
            reads: FirstReads::new(self.touches.is_some()),
        });
        self.open.insert(key, Arc::clone(&group));
        Ok(group)
    }

    /// Notes the first read of a chunk through its group.
    fn touch(&self, node: u64, position: u64) {
        if let Some(touches) = &self.touches {
            touches.add(node, position, |id| self.nodes.get(id));
        }
    }

    /// The parts of chunks that hold `len` bytes of a file from `offset` on.
    fn pieces(&self, node: u64, offset: u64, len: usize) -> Result<Pieces, Errno> {
        let chunk_size = u64::from(self.image.summary().chunk_size);
        let mut group = self.open_group(node, offset)?;
        let end = offset.saturating_add(len as u64).min(group.size);
        let mut pieces = Pieces::new();
        let mut at = offset;
        while at < end {
            let position = at / chunk_size;
            let mut index = position.wrapping_sub(group.start);
            if index >= group.chunks.len() as u64 {
                group = self.open_group(node, at)?;
                index = position.wrapping_sub(group.start);
            }
            let index = usize::try_from(index).map_err(|_| Errno::EIO)?;
            let chunk = group.chunks.get(index).ok_or(Errno::EIO)?;
            if group.reads.is_first(index) {
                self.touch(node, position);
            }
            let from = at - position * chunk_size;
            let len = (u64::from(chunk.len).saturating_sub(from)).min(end - at);
            if len == 0 {
                return Err(Errno::EIO);
            }
            let part = |value| u32::try_from(value).map_err(|_| Errno::EIO);
            pieces.push(Piece {
                chunk: *chunk,
                from: part(from)?,
                len: part(len)?,
            });
            at += len;
        }
        Ok(pieces)
    }
}

type Pieces = smallvec::SmallVec<[Piece; 2]>;

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
        let pieces = match self.pieces(node, offset, dest.len()) {
            Ok(pieces) => pieces,
            Err(errno) => return Read::Ready(Err(errno)),
        };
        let mut done = 0;
        for piece in &pieces {
            let len = piece.len as usize;
            if !self
                .store
                .read_hot(&piece.chunk, piece.from, dest, done, len)
            {
                return Read::Pending(wait_for(Arc::clone(&self.store), pieces));
            }
            done += len;
        }
        Read::Ready(Ok(done))
    }
}

/// The slow path of a read: all its chunks at once, proved. A small part is
/// copied out, so that a read that waits for one chunk does not keep others
/// whole.
fn wait_for(store: Arc<Store>, pieces: Pieces) -> PendingRead {
    Box::pin(async move {
        let parts = pieces.iter().map(|piece| {
            let (store, piece) = (&store, *piece);
            async move {
                let bytes = store.read(piece.chunk).await.map_err(|_| Errno::EIO)?;
                let (from, len) = (piece.from as usize, piece.len as usize);
                let part = bytes.get(from..from + len).ok_or(Errno::EIO)?;
                if len < bytes.len() / 2 {
                    return Ok(Bytes::copy_from_slice(part));
                }
                Ok(bytes.slice(from..from + len))
            }
        });
        try_join_all(parts).await
    })
}
