//! FUSE's numbers and byte layouts as the client side needs them
//! (`include/uapi/linux/fuse.h`, minor 38).

/// Node id of the root.
pub const ROOT: u64 = 1;

/// Opcodes by the kernel's names.
pub mod op {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const READLINK: u32 = 5;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const GETXATTR: u32 = 22;
    pub const LISTXATTR: u32 = 23;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const READDIRPLUS: u32 = 44;
    pub const LSEEK: u32 = 46;
    pub const SETUPMAPPING: u32 = 48;
    pub const REMOVEMAPPING: u32 = 49;
}

/// INIT flags that the client asks for, as a Linux guest does.
pub mod flag {
    pub const ASYNC_READ: u64 = 1;
    pub const BIG_WRITES: u64 = 1 << 5;
    pub const DO_READDIRPLUS: u64 = 1 << 13;
    pub const READDIRPLUS_AUTO: u64 = 1 << 14;
    pub const NO_OPEN: u64 = 1 << 17;
    pub const PARALLEL_DIROPS: u64 = 1 << 18;
    pub const DONT_MASK: u64 = 1 << 6;
    pub const POSIX_ACL: u64 = 1 << 20;
    pub const SETXATTR_EXT: u64 = 1 << 29;
    pub const MAX_PAGES: u64 = 1 << 22;
    pub const CACHE_SYMLINKS: u64 = 1 << 23;
    pub const NO_OPENDIR: u64 = 1 << 24;
    pub const INIT_EXT: u64 = 1 << 30;
    /// What [`super::super::Session`] offers.
    pub const OFFERED: u64 = ASYNC_READ
        | BIG_WRITES
        | DO_READDIRPLUS
        | READDIRPLUS_AUTO
        | NO_OPEN
        | PARALLEL_DIROPS
        | DONT_MASK
        | POSIX_ACL
        | SETXATTR_EXT
        | MAX_PAGES
        | CACHE_SYMLINKS
        | NO_OPENDIR
        | INIT_EXT;
}

/// Writes little-endian fields one after the other.
#[derive(Debug, Default, Clone)]
pub struct Body(pub Vec<u8>);

impl Body {
    /// Appends a u32.
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Appends a u64.
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Appends bytes and a NUL.
    pub fn name(mut self, name: &[u8]) -> Self {
        self.0.extend(name);
        self.0.push(0);
        self
    }

    /// READ, READDIR and READDIRPLUS.
    pub fn read(handle: u64, offset: u64, size: u32) -> Self {
        Self::default()
            .u64(handle)
            .u64(offset)
            .u32(size)
            .u32(0)
            .u64(0)
            .u32(0)
            .u32(0)
    }
}

/// The request header (40 bytes) followed by `body`.
pub fn message(opcode: u32, unique: u64, node: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(40 + body.len()).unwrap_or(u32::MAX);
    let header = Body::default()
        .u32(length)
        .u32(opcode)
        .u64(unique)
        .u64(node);
    let mut raw = header.u32(0).u32(0).u32(1).u32(0).0;
    raw.extend(body);
    raw
}

/// Reads little-endian fields one after the other; zero where bytes are
/// missing, so check lengths first.
#[derive(Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.0 = rest;
                *head
            }
            None => {
                self.0 = &[];
                [0; N]
            }
        }
    }

    /// Next u16.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    /// Next u32.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// Next i32.
    pub fn i32(&mut self) -> i32 {
        i32::from_le_bytes(self.take())
    }

    /// Next u64.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// Next i64.
    pub fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.take())
    }
}

/// Attributes of a node (88 bytes on the wire).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    pub inode: u64,
    pub size: u64,
    pub blocks: u64,
    pub mtime: i64,
    pub mtime_ns: u32,
    pub mode: u32,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub device: u32,
    pub block_size: u32,
    pub flags: u32,
}

impl Attributes {
    /// Bytes on the wire.
    pub const LEN: usize = 88;

    /// Reads the fields in the wire's order.
    pub fn parse(fields: &mut Fields<'_>) -> Self {
        let (inode, size, blocks) = (fields.u64(), fields.u64(), fields.u64());
        let (_atime, mtime, _ctime) = (fields.u64(), fields.i64(), fields.u64());
        let (_, mtime_ns, _) = (fields.u32(), fields.u32(), fields.u32());
        let (mode, links, uid, gid) = (fields.u32(), fields.u32(), fields.u32(), fields.u32());
        let (device, block_size, flags) = (fields.u32(), fields.u32(), fields.u32());
        Self {
            inode,
            size,
            blocks,
            mtime,
            mtime_ns,
            mode,
            links,
            uid,
            gid,
            device,
            block_size,
            flags,
        }
    }
}

/// The reply to LOOKUP (128 bytes on the wire).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry {
    pub node: u64,
    pub generation: u64,
    /// Seconds that the guest may keep the name.
    pub entry_valid: u64,
    /// Seconds that the guest may keep the attributes.
    pub attr_valid: u64,
    pub attributes: Attributes,
}

impl Entry {
    /// Bytes on the wire.
    pub const LEN: usize = 40 + Attributes::LEN;

    /// Reads the fields in the wire's order.
    pub fn parse(fields: &mut Fields<'_>) -> Self {
        let (node, generation) = (fields.u64(), fields.u64());
        let (entry_valid, attr_valid) = (fields.u64(), fields.u64());
        let _nanoseconds = fields.u64();
        let attributes = Attributes::parse(fields);
        Self {
            node,
            generation,
            entry_valid,
            attr_valid,
            attributes,
        }
    }
}

/// One entry of a directory listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub inode: u64,
    /// Where the listing goes on behind this entry.
    pub offset: u64,
    /// `DT_*`.
    pub kind: u32,
    pub name: Vec<u8>,
    /// Filled by READDIRPLUS; a zero node id means that it was not looked up.
    pub entry: Option<Entry>,
}

/// Takes a listing apart; `None` when it is malformed.
pub fn listing(mut raw: &[u8], plus: bool) -> Option<Vec<DirectoryEntry>> {
    let mut found = Vec::new();
    while !raw.is_empty() {
        let mut fields = Fields(raw);
        let prefix = if plus { Entry::LEN } else { 0 };
        if raw.len() < prefix + 24 {
            return None;
        }
        let entry = plus.then(|| Entry::parse(&mut fields));
        let (inode, offset) = (fields.u64(), fields.u64());
        let length = usize::try_from(fields.u32()).ok()?;
        let kind = fields.u32();
        let name = fields.0.get(..length)?.to_vec();
        raw = raw.get((prefix + 24 + length).next_multiple_of(8)..)?;
        found.push(DirectoryEntry {
            inode,
            offset,
            kind,
            name,
            entry,
        });
    }
    Some(found)
}
