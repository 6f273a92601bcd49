//! The kernel's own names for nodes, by which they are found again whatever became
//! of their paths (`name_to_handle_at(2)`). They hold the inode's generation, so
//! that another file with its number is not taken for it.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

use rustix::io::Errno;

/// Most bytes of such a name (`MAX_HANDLE_SZ`).
pub(super) const LONGEST: usize = LONGEST_LEN as usize;
const LONGEST_LEN: u32 = 128;

/// A name, in the layout of the kernel's `struct file_handle`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileHandle {
    len: u32,
    kind: i32,
    bytes: [u8; LONGEST],
}

impl FileHandle {
    /// Puts a name together that was taken apart.
    pub(super) fn new(kind: i32, name: &[u8]) -> Option<Self> {
        let mut bytes = [0; LONGEST];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        Some(Self {
            len: u32::try_from(name.len()).ok()?,
            kind,
            bytes,
        })
    }

    /// Its type and its bytes.
    pub(super) fn parts(&self) -> (i32, &[u8]) {
        let len = usize::try_from(self.len).unwrap_or(LONGEST);
        (self.kind, self.bytes.get(..len).unwrap_or_default())
    }

    /// The name of the node behind a descriptor.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the file system has none.
    pub(super) fn of(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        let mut handle = Self {
            len: LONGEST_LEN,
            kind: 0,
            bytes: [0; LONGEST],
        };
        let mut mount = 0;
        // SAFETY: `handle` has the layout that the kernel expects, with as many bytes
        // behind its head as it says; the path is a string that ends; all three
        // pointers are good until the call returns.
        let done = unsafe {
            libc::name_to_handle_at(
                fd.as_raw_fd(),
                c"".as_ptr(),
                ptr::from_mut(&mut handle).cast(),
                &raw mut mount,
                libc::AT_EMPTY_PATH,
            )
        };
        match done {
            0 => Ok(handle),
            _ => Err(last_error()),
        }
    }

    /// Opens the node, in the mount that `mount` (no `O_PATH`) is in, as a descriptor
    /// that names it and does nothing else.
    ///
    /// # Errors
    /// `ESTALE` when it is no more; `EPERM` without `CAP_DAC_READ_SEARCH`.
    pub(super) fn open(&self, mount: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let mut handle = *self;
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: `handle` has the layout that the kernel expects, says how many bytes
        // it has, which are not more than there are, and is good until the call
        // returns.
        let fd = unsafe {
            libc::open_by_handle_at(mount.as_raw_fd(), ptr::from_mut(&mut handle).cast(), flags)
        };
        if fd < 0 {
            return Err(last_error());
        }
        // SAFETY: the kernel has just opened it, and nobody else knows of it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_node_is_found_under_another_name_and_no_other_in_its_place() {
        let home = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let [old, new] = ["old", "new"].map(|name| home.path().join(name));
        fs::write(&old, b"content").unwrap();
        let file = File::open(&old).unwrap();
        let inode = file.metadata().unwrap().ino();
        let Ok(handle) = FileHandle::of(file.as_fd()) else {
            eprintln!("Skipped: this file system has no handles");
            return;
        };
        let (kind, bytes) = handle.parts();
        assert_eq!(FileHandle::new(kind, bytes).unwrap(), handle);
        drop(file);
        fs::rename(&old, &new).unwrap();
        let mount = File::open(home.path()).unwrap();
        match handle.open(mount.as_fd()) {
            Err(Errno::PERM) => eprintln!("Skipped: needs CAP_DAC_READ_SEARCH"),
            found => {
                let found = File::from(found.unwrap());
                assert_eq!(found.metadata().unwrap().ino(), inode);
                drop(found);
                fs::remove_file(&new).unwrap();
                assert_eq!(handle.open(mount.as_fd()).unwrap_err(), Errno::STALE);
            }
        }
    }
}
