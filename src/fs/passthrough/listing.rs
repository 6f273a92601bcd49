//! Listings of directories. Offsets are the host's own, which stay good while names
//! come and go.

use std::mem::MaybeUninit;

use rustix::fs::{FileType, RawDir, SeekFrom};

use super::{PassthroughFs, host};
use crate::fs::nodes::ROOT;
use crate::fs::{DirEntry, Entry, Errno};

/// Bytes of entries that are asked for at once.
const BATCH: usize = 32 << 10;

impl PassthroughFs {
    /// Calls `add` with each entry from `offset` on, and with the node behind it
    /// if `plus`, until it returns false.
    pub(super) fn list(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        plus: bool,
        add: &mut dyn FnMut(DirEntry<'_>, Option<Entry>) -> bool,
    ) -> Result<(), Errno> {
        let inode = self.inodes.get(node)?;
        inode.directory()?;
        let directory = self.directory(node, handle)?;
        let _position = directory.position.lock();
        rustix::fs::seek(directory.fd(), SeekFrom::Start(offset))?;
        let mut room = vec![MaybeUninit::uninit(); BATCH];
        let mut entries = RawDir::new(directory.fd(), &mut room);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let dots = name == b"." || name == b"..";
            let above = name == b".." && node == ROOT;
            let ino = if above {
                // What is above the directory is not shown.
                host::Stat::of(inode.fd())?.ino
            } else {
                entry.ino()
            };
            let shown = DirEntry {
                ino: self.numbers.shown(inode.dev(), ino)?,
                kind: kind(entry.file_type()),
                name,
                next: entry.next_entry_cookie(),
            };
            let found = match plus && !dots {
                // What vanished meanwhile, or cannot be held, is listed by name.
                true => host::find(inode.fd(), name)
                    .map_err(Errno::from)
                    .and_then(|fd| self.enter((node, &inode), name, fd))
                    .ok(),
                false => None,
            };
            if !add(shown, found) {
                if let Some(found) = found {
                    self.inodes.forget(found.node, 1);
                }
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The `DT_*` number of a type.
fn kind(file_type: FileType) -> u8 {
    match file_type {
        FileType::RegularFile => libc::DT_REG,
        FileType::Directory => libc::DT_DIR,
        FileType::Symlink => libc::DT_LNK,
        FileType::Fifo => libc::DT_FIFO,
        FileType::Socket => libc::DT_SOCK,
        FileType::CharacterDevice => libc::DT_CHR,
        FileType::BlockDevice => libc::DT_BLK,
        FileType::Unknown => libc::DT_UNKNOWN,
    }
}
