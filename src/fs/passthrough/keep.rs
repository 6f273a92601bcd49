//! What a guest holds, written down for the daemon that is started after a crash.
//!
//! Records of nodes, little-endian:
//!
//! ```text
//! 0    node id; device, mount and inode number (u64 each)
//! 32   birth: seconds (i64), nanoseconds (u32); type bits of the mode (u32)
//! 48   the kernel's handle: type (i32), length (u32, 0: none), 128 bytes
//! 184  references, node id of a directory that it was found in (u64 each)
//! 200  length of its name there (u16), the name
//! 464  mark of a change of places (u64)
//! ```

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use super::file_handle::{FileHandle, LONGEST};
use super::host::{self, Stat};
use crate::state::{Saved, Slots, StateError};

/// Bytes of a node's record.
const NODE: usize = 512;

/// Bytes of a handle's record.
const HANDLE: usize = 64;

/// Bytes of the record of an inode number.
const NUMBER: usize = 32;

/// Where references, directory and name are in a node's record.
pub(super) const CHANGING: usize = 184;

/// Where the mark is.
pub(super) const MARK: usize = 464;

/// Longest name.
const NAME_MAX: usize = 255;

/// Ids are written down so many at a time.
pub(super) const STEP: u64 = 1 << 16;

/// Files in which what a guest holds of a directory is written down.
#[derive(Clone, Debug)]
pub struct KeptFiles {
    /// Nodes.
    pub nodes: PathBuf,
    /// Opened files and directories.
    pub handles: PathBuf,
    /// Inode numbers.
    pub numbers: PathBuf,
}

/// The same, opened.
pub(super) struct Kept {
    pub(super) nodes: (Slots, Saved),
    pub(super) handles: (Slots, Saved),
    pub(super) numbers: (Slots, Saved),
}

impl Kept {
    pub(super) fn open(files: &KeptFiles) -> Result<Self, StateError> {
        let open = |path: &Path, len| Slots::open(path, len);
        Ok(Self {
            nodes: open(&files.nodes, NODE)?,
            handles: open(&files.handles, HANDLE)?,
            numbers: open(&files.numbers, NUMBER)?,
        })
    }
}

/// What is known of a node besides its attributes, for finding it again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    /// Device, mount and inode number.
    pub(super) key: (u64, u64, u64),
    /// When it was made, where the file system knows.
    pub(super) birth: Option<(i64, u32)>,
    /// Type bits of its mode.
    pub(super) file_type: u32,
    /// The kernel's name for it, where there is one.
    pub(super) handle: Option<FileHandle>,
}

impl Identity {
    /// That of the node behind a descriptor.
    pub(super) fn of(fd: BorrowedFd<'_>, stat: &Stat) -> Self {
        Self {
            key: (stat.dev, stat.mount, stat.ino),
            birth: host::birth(fd),
            file_type: stat.file_type(),
            handle: FileHandle::of(fd).ok(),
        }
    }

    /// Whether the node behind a descriptor is this one. `by_handle`: it was found by
    /// the kernel's name, which is proof enough where births are not known.
    pub(super) fn is(&self, fd: BorrowedFd<'_>, stat: &Stat, by_handle: bool) -> bool {
        let same =
            (stat.dev, stat.ino, stat.file_type()) == (self.key.0, self.key.2, self.file_type);
        same && match (self.birth, host::birth(fd)) {
            (Some(then), Some(now)) => then == now,
            _ => by_handle,
        }
    }
}

/// A node as it is written down.
pub(super) struct Record {
    pub(super) id: u64,
    pub(super) identity: Identity,
    pub(super) references: u64,
    pub(super) parent: u64,
    pub(super) name: Vec<u8>,
}

impl Record {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(NODE);
        let (dev, mount, ino) = self.identity.key;
        for number in [self.id, dev, mount, ino] {
            bytes.extend(number.to_le_bytes());
        }
        // No file was made in the last nanosecond of a second that has none.
        let (seconds, nanos) = self.identity.birth.unwrap_or((0, u32::MAX));
        bytes.extend(seconds.to_le_bytes());
        bytes.extend(nanos.to_le_bytes());
        bytes.extend(self.identity.file_type.to_le_bytes());
        let parts = self.identity.handle.as_ref().map(FileHandle::parts);
        let (kind, name) = parts.unwrap_or_default();
        bytes.extend(kind.to_le_bytes());
        bytes.extend(u32::try_from(name.len()).unwrap_or_default().to_le_bytes());
        bytes.extend(name);
        bytes.resize(CHANGING, 0);
        bytes.extend(changing(self.references, self.parent, &self.name));
        // What a place held before is not this node's.
        bytes.resize(NODE, 0);
        bytes
    }

    /// The same backwards; none for what makes no sense.
    pub(super) fn read(record: &[u8]) -> Option<Self> {
        let long = |at: usize| Some(u64::from_le_bytes(record.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u32::from_le_bytes(record.get(at..at + 4)?.try_into().ok()?));
        let nanos = short(40)?;
        let birth = (nanos != u32::MAX).then_some((long(32)?.cast_signed(), nanos));
        let len = usize::try_from(short(52)?).ok()?.min(LONGEST);
        let handle = match len {
            0 => None,
            len => FileHandle::new(short(48)?.cast_signed(), record.get(56..56 + len)?),
        };
        let name = usize::from(u16::from_le_bytes(
            record.get(CHANGING + 16..CHANGING + 18)?.try_into().ok()?,
        ));
        let start = CHANGING + 18;
        Some(Self {
            id: long(0)?,
            identity: Identity {
                key: (long(8)?, long(16)?, long(24)?),
                birth,
                file_type: short(44)?,
                handle,
            },
            references: long(CHANGING)?,
            parent: long(CHANGING + 8)?,
            name: record.get(start..start + name)?.to_vec(),
        })
    }
}

/// The part of a node's record that changes.
pub(super) fn changing(references: u64, parent: u64, name: &[u8]) -> Vec<u8> {
    let name = name.get(..NAME_MAX.min(name.len())).unwrap_or_default();
    let mut bytes = Vec::with_capacity(18 + name.len());
    bytes.extend(references.to_le_bytes());
    bytes.extend(parent.to_le_bytes());
    bytes.extend(u16::try_from(name.len()).unwrap_or_default().to_le_bytes());
    bytes.extend(name);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let handle = FileHandle::new(-3, &[7; LONGEST]);
        for (birth, handle) in [(None, None), (Some((-5, 6)), handle)] {
            let record = Record {
                id: 77,
                identity: Identity {
                    key: (1, 2, u64::MAX),
                    birth,
                    file_type: libc::S_IFREG,
                    handle,
                },
                references: 3,
                parent: 9,
                name: vec![b'x'; NAME_MAX],
            };
            let bytes = record.write();
            assert_eq!(bytes.len(), NODE);
            let read = Record::read(&bytes).unwrap();
            assert_eq!(read.identity, record.identity);
            assert_eq!((read.id, read.references, read.parent), (77, 3, 9));
            assert_eq!(read.name, record.name);
        }
        assert!(Record::read(&[1; 40]).is_none());
    }
}
