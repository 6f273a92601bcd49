//! EROFS inodes: 32 bytes (compact) or 64 (extended).

use super::xattr;
use super::{put, u16_at, u32_at, u64_at};
use crate::image::model::{Attr, FileType};

/// Bytes of an extended inode.
pub const EXTENDED: usize = 64;

/// Bytes of a compact inode.
const COMPACT: usize = 32;

/// How an inode's data is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// In blocks of the bootstrap.
    Plain,
    /// Full blocks in the bootstrap, the tail behind the inode.
    Inline,
    /// Chunks of blobs, an index entry each behind the inode.
    Chunked,
}

/// A parsed inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inode {
    /// Attributes; the size is the one on disk.
    pub attr: Attr,
    /// Data layout.
    pub layout: Layout,
    /// First data block (directories, links), or chunk format.
    pub start: u32,
    /// Bytes of the inode itself.
    pub len: usize,
    /// Bytes of the xattr area behind it.
    pub xattr_len: usize,
}

impl Inode {
    /// Parses the inode at the start of `bytes`.
    ///
    /// # Errors
    /// Says which field does not fit, or that `bytes` is too short.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let format = u16_at(bytes, 0);
        let len = if format & 1 == 0 { COMPACT } else { EXTENDED };
        if bytes.len() < len {
            return Err("an inode runs past the end".into());
        }
        let layout = match format >> 1 {
            0 => Layout::Plain,
            2 => Layout::Inline,
            4 => Layout::Chunked,
            _ => return Err(format!("inode format {format:#x}")),
        };
        let mode = u16_at(bytes, 4);
        let file_type = FileType::from_mode(mode).ok_or_else(|| format!("inode mode {mode:#o}"))?;
        if (file_type == FileType::Regular) != (layout == Layout::Chunked) {
            return Err(format!("inode format {format:#x} with mode {mode:#o}"));
        }
        let start = u32_at(bytes, 16);
        let rdev = match file_type {
            FileType::CharDevice | FileType::BlockDevice => start,
            _ => 0,
        };
        let mode = mode & 0o7777;
        let attr = if len == EXTENDED {
            Attr {
                file_type,
                mode,
                uid: u32_at(bytes, 24),
                gid: u32_at(bytes, 28),
                mtime: u64_at(bytes, 32).cast_signed(),
                mtime_ns: u32_at(bytes, 40),
                nlink: u32_at(bytes, 44),
                rdev,
                size: u64_at(bytes, 8),
            }
        } else {
            Attr {
                file_type,
                mode,
                uid: u32::from(u16_at(bytes, 24)),
                gid: u32::from(u16_at(bytes, 26)),
                mtime: 0,
                mtime_ns: 0,
                nlink: u32::from(u16_at(bytes, 6)),
                rdev,
                size: u64::from(u32_at(bytes, 8)),
            }
        };
        if attr.mtime_ns >= 1_000_000_000 {
            return Err(format!("{} nanoseconds in a time", attr.mtime_ns));
        }
        Ok(Self {
            attr,
            layout,
            start,
            len,
            xattr_len: xattr::area_len(u16_at(bytes, 2)),
        })
    }

    /// Offset of what follows the inode and its xattrs.
    pub fn tail(&self) -> usize {
        self.len + self.xattr_len
    }
}

/// Encodes an extended inode. `number` is its position in the builder's order,
/// `start` as in [`Inode::start`] (the device number for devices).
pub fn encode(
    attr: &Attr,
    layout: Layout,
    start: u32,
    xattr_count: u16,
    number: u32,
) -> [u8; EXTENDED] {
    let mut inode = [0; EXTENDED];
    let format: u16 = match layout {
        Layout::Plain => 1,
        Layout::Inline => 1 | 2 << 1,
        Layout::Chunked => 1 | 4 << 1,
    };
    let mode = u16::from(attr.file_type.code()) << 12 | attr.mode;
    put(&mut inode, 0, &format.to_le_bytes());
    put(&mut inode, 2, &xattr_count.to_le_bytes());
    put(&mut inode, 4, &mode.to_le_bytes());
    put(&mut inode, 8, &attr.size.to_le_bytes());
    put(&mut inode, 16, &start.to_le_bytes());
    put(&mut inode, 20, &number.to_le_bytes());
    put(&mut inode, 24, &attr.uid.to_le_bytes());
    put(&mut inode, 28, &attr.gid.to_le_bytes());
    put(&mut inode, 32, &attr.mtime.to_le_bytes());
    put(&mut inode, 40, &attr.mtime_ns.to_le_bytes());
    put(&mut inode, 44, &attr.nlink.to_le_bytes());
    inode
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_parsed() {
        let attr = Attr {
            file_type: FileType::CharDevice,
            mode: 0o6755,
            uid: 70_000,
            gid: u32::MAX,
            mtime: -5,
            mtime_ns: 999_999_999,
            nlink: 3,
            rdev: 0x0011_032c,
            size: 0,
        };
        let inode = Inode::parse(&encode(&attr, Layout::Plain, attr.rdev, 1, 9)).unwrap();
        assert_eq!(inode.attr, attr);
        assert_eq!(
            (inode.layout, inode.xattr_len, inode.tail()),
            (Layout::Plain, 12, 76)
        );
    }

    #[test]
    fn short_and_odd_inodes_are_refused() {
        assert!(Inode::parse(&[]).is_err());
        assert!(Inode::parse(&[1; 63]).is_err());
        assert!(Inode::parse(&[0xff; 64]).is_err());
    }
}
