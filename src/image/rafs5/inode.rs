//! Inode records: 128 bytes, then name, link target, xattrs and chunk records,
//! each padded to 8.

use super::padded;
use crate::chunk::Digest;
use crate::image::field::BadField;
use crate::image::model::{Attr, FileType, NAME_MAX, TARGET_MAX};
use crate::image::rafs::{field, u16_at, u32_at, u64_at};

/// Bytes of the fixed part.
pub const LEN: usize = 128;

const HAS_XATTRS: u64 = 4;

/// The fixed part of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inode {
    /// Offset of the record in the bootstrap.
    pub at: u64,
    /// Digest of the content.
    pub digest: Digest,
    /// Inode number of the directory.
    pub parent: u64,
    /// Inode number: the record's position in the inode table from 1, or for a
    /// later name of a hard link that of the first.
    pub number: u64,
    /// Attributes.
    pub attr: Attr,
    /// Whether xattrs follow.
    pub has_xattrs: bool,
    /// Position of a directory's first entry in the inode table, from 1.
    pub child_index: u32,
    /// Entries of a directory, chunks of a file.
    pub child_count: u32,
    /// Bytes of the name.
    pub name_len: usize,
    /// Bytes of a link's target.
    pub target_len: usize,
}

impl Inode {
    /// Parses the record at offset `at` of the bootstrap, of which `bytes` are
    /// the first.
    ///
    /// # Errors
    /// Names the field that does not fit, or says that `bytes` is too short.
    pub fn parse(bytes: &[u8], at: u64) -> Result<Self, BadField> {
        let bad = |name, offset, why: String| Err(BadField::new(name, at + offset, why));
        if bytes.len() < LEN {
            return bad("Inode", 0, "it runs past the end of the bootstrap".into());
        }
        let mode = u32_at(bytes, 60);
        let Some((low, file_type)) = u16::try_from(mode)
            .ok()
            .and_then(|low| Some((low, FileType::from_mode(low)?)))
        else {
            return bad("Mode", 60, format!("{mode:#o}"));
        };
        let mtime_ns = u32_at(bytes, 108);
        if mtime_ns >= 1_000_000_000 {
            return bad("Nanoseconds of the time", 108, mtime_ns.to_string());
        }
        let name_len = usize::from(u16_at(bytes, 100));
        if name_len == 0 || name_len > NAME_MAX {
            return bad("Length of the name", 100, name_len.to_string());
        }
        let target_len = usize::from(u16_at(bytes, 102));
        let is_link = file_type == FileType::Symlink;
        if is_link != (target_len != 0) || target_len > TARGET_MAX {
            let why = format!("{target_len} with mode {mode:#o}");
            return bad("Length of the link target", 102, why);
        }
        let size = match file_type {
            FileType::Regular | FileType::Directory => u64_at(bytes, 64),
            FileType::Symlink => target_len as u64,
            _ => 0,
        };
        if i64::try_from(size).is_err() {
            return bad("Size", 64, size.to_string());
        }
        let nlink = u32_at(bytes, 88);
        if nlink == 0 {
            return bad("Number of links", 88, "0".into());
        }
        let is_device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
        Ok(Self {
            at,
            digest: Digest(field(bytes, 0)),
            parent: u64_at(bytes, 32),
            number: u64_at(bytes, 40),
            attr: Attr {
                file_type,
                mode: low & 0o7777,
                uid: u32_at(bytes, 48),
                gid: u32_at(bytes, 52),
                mtime: u64_at(bytes, 112).cast_signed(),
                mtime_ns,
                nlink,
                rdev: if is_device { u32_at(bytes, 104) } else { 0 },
                size,
            },
            has_xattrs: u64_at(bytes, 80) & HAS_XATTRS != 0,
            child_index: u32_at(bytes, 92),
            child_count: u32_at(bytes, 96),
            name_len,
            target_len,
        })
    }

    /// Offset of the link target behind the start of the record.
    pub fn target_at(&self) -> usize {
        LEN + padded(self.name_len)
    }

    /// Offset of the xattr block, if there is one, behind the start of the
    /// record.
    pub fn xattrs_at(&self) -> usize {
        self.target_at() + padded(self.target_len)
    }

    /// Refuses a file that does not have one chunk record for each chunk.
    ///
    /// # Errors
    /// Names the field.
    pub fn check_chunk_count(&self, chunk_size: u32) -> Result<(), BadField> {
        let wanted = self.attr.size.div_ceil(u64::from(chunk_size));
        if u64::from(self.child_count) == wanted {
            return Ok(());
        }
        let why = format!(
            "{} for {} bytes, not {wanted}",
            self.child_count, self.attr.size
        );
        Err(BadField::new("Number of chunks", self.at + 96, why))
    }
}

/// Refuses names that no directory can have.
///
/// # Errors
/// Says what is wrong; the name is at offset `at` of the bootstrap.
pub fn check_name(name: &[u8], at: u64) -> Result<(), BadField> {
    let why = match name {
        b"" => "it is empty",
        b"." | b".." => "it is kept for the directory itself",
        _ if name.contains(&b'/') => "it has a slash",
        _ if name.contains(&0) => "it has a zero byte",
        _ => return Ok(()),
    };
    Err(BadField::new("Name", at, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::rafs::put;

    fn example() -> Vec<u8> {
        let mut bytes = vec![0; LEN];
        put(&mut bytes, 40, &7u64.to_le_bytes());
        put(&mut bytes, 60, &0o100_644u32.to_le_bytes());
        put(&mut bytes, 64, &10u64.to_le_bytes());
        put(&mut bytes, 80, &4u64.to_le_bytes());
        put(&mut bytes, 88, &[1]);
        put(&mut bytes, 96, &[1]);
        put(&mut bytes, 100, &[5]);
        put(&mut bytes, 112, &(-5i64).to_le_bytes());
        bytes
    }

    #[test]
    fn a_record_is_understood() {
        let inode = Inode::parse(&example(), 0x4000).unwrap();
        assert_eq!((inode.number, inode.attr.size), (7, 10));
        assert_eq!((inode.attr.mtime, inode.attr.mode), (-5, 0o644));
        assert!(inode.has_xattrs && inode.check_chunk_count(4096).is_ok());
        assert_eq!((inode.target_at(), inode.xattrs_at()), (136, 136));
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_offset() {
        let cases: [(usize, u32, &str, u64); 8] = [
            (60, 0, "Mode", 60),
            (60, 0x1_81a4, "Mode", 60),
            (60, 0o120_777, "Length of the link target", 102),
            (68, u32::MAX, "Size", 64),
            (88, 0, "Number of links", 88),
            (100, 0, "Length of the name", 100),
            (100, 256, "Length of the name", 100),
            (108, 1_000_000_000, "Nanoseconds of the time", 108),
        ];
        for (at, value, field, offset) in cases {
            let mut bytes = example();
            put(&mut bytes, at, &value.to_le_bytes());
            let bad = Inode::parse(&bytes, 0x4000).unwrap_err();
            assert_eq!((bad.field, bad.at), (field, 0x4000 + offset));
        }
        assert!(Inode::parse(&example()[..127], 0).is_err());
        let inode = Inode::parse(&example(), 0).unwrap();
        assert!(inode.check_chunk_count(4).is_err());
    }

    #[test]
    fn names_that_no_directory_has_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0"] {
            assert!(check_name(name, 0).is_err(), "{name:?}");
        }
        for name in [&b"..."[..], b"\xff\n", b" "] {
            assert!(check_name(name, 0).is_ok(), "{name:?}");
        }
    }
}
