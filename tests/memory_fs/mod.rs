//! A small file system in memory for tests, with reads that wait on demand.
//! The including module must have `fs_api` (the module `fs`) and `destination` in scope.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::destination::Destination;
use super::fs_api::operation::{Caller, Operation, Reply, Wants};
use super::fs_api::{Attr, DirEntry, Entry, Errno, FileSystem, Read, StatFs};

/// Node of the root.
pub(crate) const ROOT: u64 = 1;
/// Node of `hello`, the bytes `0, 1, 2 ..` modulo 251.
pub(crate) const HELLO: u64 = 2;
/// Node of `link`, which points to `hello`.
pub(crate) const LINK: u64 = 3;
/// Node of `slow`: the bytes of `hello`, whose reads wait for
/// [`MemoryFs::release`].
pub(crate) const SLOW: u64 = 4;
/// Size of the files in bytes.
pub(crate) const SIZE: usize = 300_000;
/// How long everything may be kept.
pub(crate) const TIMEOUT: Duration = Duration::new(3600, 5);

const NAMES: [(&str, u64); 3] = [("hello", HELLO), ("link", LINK), ("slow", SLOW)];

/// The file system.
pub(crate) struct MemoryFs {
    data: Bytes,
    gate: std::sync::Arc<Semaphore>,
    references: Mutex<HashMap<u64, u64>>,
    inits: AtomicUsize,
    /// Value that is passed to `forget` last.
    pub(crate) last_forget: AtomicU64,
    /// Whether FSYNC of `slow` waits as its reads do.
    pub(crate) syncs: AtomicBool,
}

#[allow(dead_code, reason = "each test uses its part")]
impl MemoryFs {
    pub(crate) fn new() -> Self {
        Self {
            data: content().into(),
            gate: std::sync::Arc::new(Semaphore::new(0)),
            references: Mutex::default(),
            inits: AtomicUsize::new(0),
            last_forget: AtomicU64::new(0),
            syncs: AtomicBool::new(false),
        }
    }

    /// Lets `count` reads of `slow` through.
    pub(crate) fn release(&self, count: usize) {
        self.gate.add_permits(count);
    }

    /// References that are held on `node`.
    pub(crate) fn references(&self, node: u64) -> u64 {
        let references = self.references.lock();
        references.get(&node).copied().unwrap_or(0)
    }

    /// How many sessions began.
    pub(crate) fn inits(&self) -> usize {
        self.inits.load(Ordering::SeqCst)
    }

    fn take(&self, node: u64) -> Entry {
        *self.references.lock().entry(node).or_default() += 1;
        Entry {
            node,
            attr: attr(node),
            timeout: TIMEOUT,
        }
    }
}

/// The bytes of the files.
pub(crate) fn content() -> Vec<u8> {
    (0u8..251).cycle().take(SIZE).collect()
}

fn attr(node: u64) -> Attr {
    let (mode, size) = match node {
        ROOT => (libc::S_IFDIR | 0o755, 0),
        LINK => (libc::S_IFLNK | 0o777, 5),
        _ => (libc::S_IFREG | 0o644, SIZE as u64),
    };
    Attr {
        ino: node,
        mode,
        nlink: 1,
        uid: 10,
        gid: 20,
        rdev: 0,
        size,
        blocks: size.div_ceil(512),
        mtime: (-7, 9),
        other_times: None,
        block_size: 4096,
        submount: false,
    }
}

fn kind(node: u64) -> u8 {
    match node {
        ROOT => libc::DT_DIR,
        LINK => libc::DT_LNK,
        _ => libc::DT_REG,
    }
}

impl FileSystem for MemoryFs {
    fn init(&self) {
        self.references.lock().clear();
        self.inits.fetch_add(1, Ordering::SeqCst);
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno> {
        if parent != ROOT {
            return Err(Errno::ENOTDIR);
        }
        assert_ne!(name, b"panic", "asked for");
        NAMES
            .iter()
            .find(|(known, _)| known.as_bytes() == name)
            .map(|&(_, node)| self.take(node))
            .ok_or(Errno::ENOENT)
    }

    fn forget(&self, node: u64, count: u64) {
        self.last_forget.store(count, Ordering::SeqCst);
        if let Some(held) = self.references.lock().get_mut(&node) {
            *held = held.saturating_sub(count);
        }
    }

    fn getattr(&self, node: u64) -> Result<(Attr, Duration), Errno> {
        match node {
            ROOT..=SLOW => Ok((attr(node), TIMEOUT)),
            _ => Err(Errno::ESTALE),
        }
    }

    fn readlink(&self, node: u64) -> Result<Vec<u8>, Errno> {
        match node {
            LINK => Ok(b"hello".to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn getxattr(&self, node: u64, name: &[u8]) -> Result<Vec<u8>, Errno> {
        match (node, name) {
            (HELLO, b"user.key") => Ok(b"value".to_vec()),
            _ => Err(Errno::ENODATA),
        }
    }

    fn listxattr(&self, node: u64) -> Result<Vec<u8>, Errno> {
        match node {
            HELLO => Ok(b"user.key\0".to_vec()),
            _ => Ok(Vec::new()),
        }
    }

    fn readdir(
        &self,
        node: u64,
        _handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        if node != ROOT {
            return Err(Errno::ENOTDIR);
        }
        let all = [(".", ROOT), ("..", ROOT)].into_iter().chain(NAMES);
        for (next, (name, ino)) in (1..).zip(all).skip(usize::try_from(offset).unwrap_or(99)) {
            let entry = DirEntry {
                ino,
                kind: kind(ino),
                name: name.as_bytes(),
                next,
            };
            if !add(entry) {
                break;
            }
        }
        Ok(())
    }

    fn readdirplus(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Option<Entry>) -> bool,
    ) -> Result<(), Errno> {
        self.readdir(node, handle, offset, &mut |entry| {
            if entry.name.starts_with(b".") {
                return add(entry, None);
            }
            let child = self.take(entry.ino);
            let taken = add(entry, Some(child));
            if !taken {
                self.forget(entry.ino, 1);
            }
            taken
        })
    }

    fn wants(&self) -> Wants {
        Wants {
            opens: self.syncs.load(Ordering::SeqCst),
            ..Wants::default()
        }
    }

    fn perform(&self, _: Caller, node: u64, operation: Operation<'_>) -> Result<Reply, Errno> {
        match (node, operation) {
            (SLOW, Operation::Fsync { .. }) => {
                let gate = self.gate.clone();
                Ok(Reply::Later(Box::pin(async move {
                    gate.acquire().await.map_err(|_| Errno::EIO)?.forget();
                    Ok(0)
                })))
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    fn is_held(&self) -> bool {
        self.references.lock().values().any(|&count| count > 0)
    }

    fn statfs(&self, _node: u64) -> Result<StatFs, Errno> {
        Ok(StatFs::read_only(100, 4))
    }

    fn read(&self, node: u64, _handle: u64, offset: u64, dest: &mut Destination<'_>) -> Read {
        if node != HELLO && node != SLOW {
            return Read::Ready(Err(Errno::EISDIR));
        }
        let start = usize::try_from(offset).unwrap_or(SIZE).min(SIZE);
        let end = start.saturating_add(dest.len()).min(SIZE);
        if node == HELLO {
            return Read::Ready(Ok(dest.copy_in(0, &self.data[start..end])));
        }
        let (data, gate) = (self.data.slice(start..end), self.gate.clone());
        Read::Pending(Box::pin(async move {
            gate.acquire().await.map_err(|_| Errno::EIO)?.forget();
            let half = data.len() / 2;
            Ok(vec![data.slice(..half), data.slice(half..)])
        }))
    }
}
