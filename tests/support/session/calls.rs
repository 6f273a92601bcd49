//! One method for each request that a guest's kernel makes of a read-only
//! tree.

use super::wire::{Attributes, Body, DirectoryEntry, Entry, Fields, ROOT, flag, listing, op};
use super::{Answer, Failure, Session};

/// Room for a directory listing, as large as a Linux guest's.
const LISTING: u32 = 32 << 10;

/// Room for names and values of extended attributes.
const XATTRS: u32 = 64 << 10;

/// What STATFS says of the file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    pub blocks: u64,
    pub free: u64,
    pub files: u64,
    pub block_size: u32,
    pub name_max: u32,
}

fn size(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn long_enough(raw: &[u8], least: usize, what: &str) -> Answer<()> {
    if raw.len() < least {
        return Err(Failure::Malformed(format!(
            "{what} is {} bytes, not {least}",
            raw.len()
        )));
    }
    Ok(())
}

impl Session {
    /// Looks `name` up in `parent`.
    ///
    /// # Errors
    /// Those of the daemon; a negative entry is ENOENT.
    pub fn lookup(&mut self, parent: u64, name: &[u8]) -> Answer<Entry> {
        let body = Body::default().name(name).0;
        let raw = self.raw(op::LOOKUP, parent, &body, Entry::LEN)?;
        long_enough(&raw, Entry::LEN, "An entry")?;
        let entry = Entry::parse(&mut Fields(&raw));
        if entry.node == 0 {
            Err(Failure::Errno(libc::ENOENT))
        } else {
            Ok(entry)
        }
    }

    /// Looks a path up component by component; the empty path is the root.
    ///
    /// # Errors
    /// Those of the daemon.
    pub fn resolve(&mut self, path: &str) -> Answer<u64> {
        let mut node = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            node = self.lookup(node, name.as_bytes())?.node;
        }
        Ok(node)
    }

    /// Attributes of a node.
    ///
    /// # Errors
    /// Those of the daemon.
    pub fn attributes(&mut self, node: u64) -> Answer<Attributes> {
        let body = Body::default().u32(0).u32(0).u64(0).0;
        let raw = self.raw(op::GETATTR, node, &body, 16 + Attributes::LEN)?;
        long_enough(&raw, 16 + Attributes::LEN, "The attributes")?;
        Ok(Attributes::parse(&mut Fields(&raw[16..])))
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// Those of the daemon.
    pub fn readlink(&mut self, node: u64) -> Answer<Vec<u8>> {
        self.raw(op::READLINK, node, &[], 4096)
    }

    /// Opens a file for reading; 0 where the daemon wants no OPEN.
    ///
    /// # Errors
    /// Those of the daemon but ENOSYS.
    pub fn open(&mut self, node: u64) -> Answer<u64> {
        if self.no_open {
            return Ok(0);
        }
        let (handle, absent) = self.open_with(op::OPEN, node, flag::NO_OPEN)?;
        self.no_open = absent;
        Ok(handle)
    }

    /// Opens a directory; 0 where the daemon wants no OPENDIR.
    ///
    /// # Errors
    /// Those of the daemon but ENOSYS.
    pub fn opendir(&mut self, node: u64) -> Answer<u64> {
        if self.no_opendir {
            return Ok(0);
        }
        let (handle, absent) = self.open_with(op::OPENDIR, node, flag::NO_OPENDIR)?;
        self.no_opendir = absent;
        Ok(handle)
    }

    fn open_with(&mut self, opcode: u32, node: u64, elidable: u64) -> Answer<(u64, bool)> {
        let body = Body::default().u32(0).u32(0).0;
        match self.raw(opcode, node, &body, 16) {
            Err(Failure::Errno(libc::ENOSYS)) if self.agreed.flags & elidable != 0 => Ok((0, true)),
            Err(failure) => Err(failure),
            Ok(raw) => {
                long_enough(&raw, 16, "The handle")?;
                Ok((Fields(&raw).u64(), false))
            }
        }
    }

    /// Closes a file handle.
    ///
    /// # Errors
    /// Those of the daemon.
    pub fn release(&mut self, node: u64, handle: u64) -> Answer<()> {
        self.close_with(op::RELEASE, node, handle, self.no_open)
    }

    /// Closes a directory handle.
    ///
    /// # Errors
    /// Those of the daemon.
    pub fn releasedir(&mut self, node: u64, handle: u64) -> Answer<()> {
        self.close_with(op::RELEASEDIR, node, handle, self.no_opendir)
    }

    fn close_with(&mut self, opcode: u32, node: u64, handle: u64, elided: bool) -> Answer<()> {
        if elided {
            return Ok(());
        }
        let body = Body::default().u64(handle).u32(0).u32(0).u64(0).0;
        self.raw(opcode, node, &body, 0).map(drop)
    }

    /// Reads up to `length` bytes at `offset`, in requests of the agreed size;
    /// ends early at the end of the file only.
    ///
    /// # Errors
    /// Those of the daemon.
    pub fn read(&mut self, node: u64, handle: u64, offset: u64, length: usize) -> Answer<Vec<u8>> {
        let mut found = Vec::with_capacity(length);
        while found.len() < length {
            let part = (length - found.len()).min(self.agreed.max_read);
            let at = offset + u64::try_from(found.len()).unwrap_or(u64::MAX);
            let body = Body::read(handle, at, u32::try_from(part).unwrap_or(u32::MAX)).0;
            let raw = self.raw(op::READ, node, &body, part)?;
            if raw.is_empty() {
                break;
            }
            found.extend(raw);
        }
        Ok(found)
    }

    /// One READDIR or READDIRPLUS at `offset`; empty at the end.
    ///
    /// # Errors
    /// Those of the daemon, or a malformed listing.
    pub fn list_once(
        &mut self,
        node: u64,
        handle: u64,
        offset: u64,
        plus: bool,
    ) -> Answer<Vec<DirectoryEntry>> {
        let opcode = if plus { op::READDIRPLUS } else { op::READDIR };
        let body = Body::read(handle, offset, LISTING).0;
        let raw = self.raw(opcode, node, &body, size(LISTING))?;
        listing(&raw, plus).ok_or_else(|| Failure::Malformed("a listing".into()))
    }

    /// All entries of a directory, opened and closed for it, `.` and `..` left
    /// out.
    ///
    /// # Errors
    /// Those of the daemon, or a malformed listing.
    pub fn list(&mut self, node: u64, plus: bool) -> Answer<Vec<DirectoryEntry>> {
        let handle = self.opendir(node)?;
        let (mut found, mut offset) = (Vec::new(), 0);
        loop {
            let part = self.list_once(node, handle, offset, plus)?;
            let Some(last) = part.last() else { break };
            offset = last.offset;
            found.extend(
                part.into_iter()
                    .filter(|e| e.name != b"." && e.name != b".."),
            );
        }
        self.releasedir(node, handle)?;
        Ok(found)
    }

    /// Value of an extended attribute.
    ///
    /// # Errors
    /// Those of the daemon.
    pub fn getxattr(&mut self, node: u64, name: &[u8]) -> Answer<Vec<u8>> {
        let body = Body::default().u32(XATTRS).u32(0).name(name).0;
        self.raw(op::GETXATTR, node, &body, size(XATTRS))
    }

    /// Names of all extended attributes, in the daemon's order.
    ///
    /// # Errors
    /// Those of the daemon.
    pub fn listxattr(&mut self, node: u64) -> Answer<Vec<Vec<u8>>> {
        let body = Body::default().u32(XATTRS).u32(0).0;
        let raw = self.raw(op::LISTXATTR, node, &body, size(XATTRS))?;
        Ok(raw
            .split(|&b| b == 0)
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect())
    }

    /// What the file system says of itself.
    ///
    /// # Errors
    /// Those of the daemon.
    pub fn statfs(&mut self) -> Answer<Statistics> {
        let raw = self.raw(op::STATFS, ROOT, &[], 80)?;
        long_enough(&raw, 80, "The statistics")?;
        let mut fields = Fields(&raw);
        let (blocks, free, _available) = (fields.u64(), fields.u64(), fields.u64());
        let (files, _free_files) = (fields.u64(), fields.u64());
        let (block_size, name_max) = (fields.u32(), fields.u32());
        Ok(Statistics {
            blocks,
            free,
            files,
            block_size,
            name_max,
        })
    }

    /// Takes back `count` lookups of a node.
    ///
    /// # Errors
    /// When the buffer does not come back.
    pub fn forget(&mut self, node: u64, count: u64) -> Answer<()> {
        self.send(op::FORGET, node, &Body::default().u64(count).0)
    }

    /// Takes back lookups of many nodes: pairs of node and count.
    ///
    /// # Errors
    /// When the buffer does not come back.
    pub fn batch_forget(&mut self, nodes: &[(u64, u64)]) -> Answer<()> {
        let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let head = Body::default().u32(count).u32(0);
        let body = nodes
            .iter()
            .fold(head, |body, &(node, times)| body.u64(node).u64(times));
        self.send(op::BATCH_FORGET, 0, &body.0)
    }
}
