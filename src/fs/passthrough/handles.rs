//! Files and directories that a guest has open.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use super::descriptors::Held;
use super::inode::Inode;
use super::keep::STEP;
use super::{PassthroughFs, host};
use crate::fs::Errno;
use crate::fs::operation::Opened;
use crate::state::{Saved, Serial, Slot, Slots};

/// Flags of `open(2)` that a guest may set. `O_DIRECT` is not among them: the
/// guest keeps its own promise about its own cache, and ours stays coherent.
const ALLOWED: i32 = libc::O_ACCMODE
    | libc::O_APPEND
    | libc::O_TRUNC
    | libc::O_NONBLOCK
    | libc::O_DSYNC
    | libc::O_SYNC
    | libc::O_NOATIME
    | libc::O_LARGEFILE;

/// An open file or directory.
pub(super) struct Handle {
    /// The node that it was opened of.
    node: u64,
    fd: Held,
    /// Whether writes wait for the disk.
    pub(super) synchronous: bool,
    /// Whether they go to the end of the file.
    pub(super) appends: bool,
    /// Held by whoever moves the descriptor's position.
    pub(super) position: Mutex<()>,
    /// Where it is written down.
    place: Slot,
}

impl Handle {
    /// Its descriptor.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The table of handles; their numbers are never used twice, and 0 is none.
#[derive(Default)]
pub(super) struct Handles {
    table: RwLock<HashMap<u64, Arc<Handle>>>,
    numbers: Mutex<Serial>,
    kept: Option<Slots>,
    /// Whether some of a daemon before this one could not be opened again.
    lossy: bool,
}

impl Handles {
    /// Adds a handle and returns its number.
    ///
    /// # Errors
    /// `EIO` when no number can be reserved.
    fn add(&self, mut handle: Handle, flags: i32) -> Result<u64, Errno> {
        let number = self.numbers.lock().next(self.kept.as_ref(), STEP);
        let number = number.ok_or(Errno::EIO)?;
        if let Some(kept) = &self.kept {
            handle.place = kept.add(&record(number, handle.node, flags));
        }
        self.table.write().insert(number, Arc::new(handle));
        Ok(number)
    }

    fn get(&self, node: u64, number: u64) -> Result<Arc<Handle>, Errno> {
        let table = self.table.read();
        match table.get(&number) {
            Some(handle) if handle.node == node => Ok(Arc::clone(handle)),
            None if self.lossy => Err(Errno::ESTALE),
            _ => Err(Errno::EBADF),
        }
    }

    /// Closes a handle of `node`; others are left alone.
    pub(super) fn remove(&self, node: u64, number: u64) {
        let mut table = self.table.write();
        if table.get(&number).is_some_and(|handle| handle.node == node) {
            let closed = table.remove(&number);
            drop(table);
            if let (Some(kept), Some(closed)) = (&self.kept, &closed) {
                kept.free(closed.place);
            }
            drop(closed);
        }
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        let mut table = self.table.write();
        let old = std::mem::take(&mut *table);
        if let Some(kept) = &self.kept {
            kept.clear();
        }
        drop(table);
        drop(old);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.table.read().len()
    }
}

/// Bits of a record that are no flags of `open(2)`: a directory.
const DIRECTORY: u64 = 1 << 32;

/// A handle as it is written down: number, node, flags and whether it is a
/// directory's. What was made or cut short once is not again.
fn record(number: u64, node: u64, flags: i32) -> [u8; 24] {
    let once = libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC;
    let how = match flags {
        libc::O_DIRECTORY => DIRECTORY,
        flags => u64::from((flags & !once).cast_unsigned()),
    };
    let mut bytes = [0; 24];
    for (at, number) in [number, node, how].into_iter().enumerate() {
        bytes[8 * at..8 * at + 8].copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

impl PassthroughFs {
    /// Opens what is `saved`, and writes down changes from now on. Returns how many
    /// were opened and how many were not.
    pub(super) fn keep_handles(&mut self, slots: Slots, saved: &Saved) -> (usize, usize) {
        let mut handles = Handles::default();
        let mut lost = 0;
        for (place, record) in &saved.records {
            let field = |at: usize| {
                let bytes = record.get(8 * at..8 * at + 8);
                let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
                bytes.map_or(0, u64::from_le_bytes)
            };
            let (number, node, how) = (field(0), field(1), field(2));
            match self.again(node, how) {
                Ok(mut handle) => {
                    handle.place = *place;
                    handles.table.get_mut().insert(number, Arc::new(handle));
                }
                Err(_) => {
                    slots.free(*place);
                    lost += 1;
                }
            }
        }
        handles.numbers = Mutex::new(Serial::again(0, saved, &slots, STEP));
        handles.kept = Some(slots);
        handles.lossy = lost > 0;
        self.handles = handles;
        (self.handles.len(), lost)
    }

    /// A file or directory as it was opened before.
    fn again(&self, node: u64, how: u64) -> Result<Handle, Errno> {
        if how == DIRECTORY {
            return self.directory_handle(node);
        }
        let flags = u32::try_from(how).map_err(|_| Errno::EINVAL)?.cast_signed() & ALLOWED;
        let inode = self.inodes.get(node)?;
        Ok(Handle {
            node,
            fd: self.open_file(&inode, flags)?,
            synchronous: flags & (libc::O_SYNC | libc::O_DSYNC) != 0,
            appends: flags & libc::O_APPEND != 0,
            position: Mutex::default(),
            place: Slot::NONE,
        })
    }

    /// The flags that a file is opened with for a guest that wants `flags`. One that
    /// gathers its writes reads the pages around them, and knows where the end is.
    pub(super) fn allowed(&self, flags: u32) -> i32 {
        let flags = flags.cast_signed() & ALLOWED;
        if !self.options.writeback {
            return flags;
        }
        let flags = flags & !libc::O_APPEND;
        if flags & libc::O_ACCMODE == libc::O_WRONLY {
            return (flags & !libc::O_ACCMODE) | libc::O_RDWR;
        }
        flags
    }

    /// Keeps an opened file.
    ///
    /// # Errors
    /// `EIO` when no number can be reserved for it.
    pub(super) fn keep_file(&self, node: u64, fd: Held, flags: i32) -> Result<Opened, Errno> {
        let handle = Handle {
            node,
            fd,
            synchronous: flags & (libc::O_SYNC | libc::O_DSYNC) != 0,
            appends: flags & libc::O_APPEND != 0,
            position: Mutex::default(),
            place: Slot::NONE,
        };
        let number = self.handles.add(handle, flags)?;
        Ok(self.options.cache.file(number))
    }

    /// Opens a regular file with flags that the guest may set.
    pub(super) fn open_file(&self, inode: &Inode, flags: i32) -> Result<Held, Errno> {
        match inode.file_type() {
            libc::S_IFREG => {}
            libc::S_IFDIR => return Err(Errno::EISDIR),
            libc::S_IFLNK => return Err(Errno(libc::ELOOP)),
            _ => return Err(Errno(libc::ENXIO)),
        }
        let opened = match host::reopen(inode.fd(), flags) {
            // Only a file's owner may leave its access time alone.
            Err(rustix::io::Errno::PERM) if flags & libc::O_NOATIME != 0 => {
                host::reopen(inode.fd(), flags & !libc::O_NOATIME)
            }
            other => other,
        };
        self.hold(opened?)
    }

    /// Opens a directory.
    pub(super) fn open_directory(&self, node: u64) -> Result<Opened, Errno> {
        let opened = self.directory_handle(node)?;
        let handle = self.handles.add(opened, libc::O_DIRECTORY)?;
        Ok(self.options.cache.directory(handle))
    }

    fn directory_handle(&self, node: u64) -> Result<Handle, Errno> {
        let inode = self.inodes.get(node)?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let fd = self.hold(host::reopen(inode.directory()?, flags)?)?;
        Ok(Handle {
            node,
            fd,
            synchronous: false,
            appends: false,
            position: Mutex::default(),
            place: Slot::NONE,
        })
    }

    /// The file behind a handle. A guest that opens no files has handle 0, and the
    /// file is opened for this one request, with `access`.
    pub(super) fn file(&self, node: u64, handle: u64, access: i32) -> Result<Arc<Handle>, Errno> {
        if handle != 0 {
            return self.handles.get(node, handle);
        }
        let inode = self.inodes.get(node)?;
        Ok(Arc::new(Handle {
            node,
            fd: self.open_file(&inode, access)?,
            synchronous: false,
            appends: false,
            position: Mutex::default(),
            place: Slot::NONE,
        }))
    }

    /// The directory behind a handle, as [`PassthroughFs::file`].
    pub(super) fn directory(&self, node: u64, handle: u64) -> Result<Arc<Handle>, Errno> {
        if handle != 0 {
            return self.handles.get(node, handle);
        }
        self.directory_handle(node).map(Arc::new)
    }
}
