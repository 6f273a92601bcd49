//! Sharing blocks between files (`FICLONERANGE` of ioctl_ficlonerange(2)), where
//! the file system can: XFS and btrfs, not ext4 or tmpfs.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use rustix::ioctl::{Setter, ioctl, opcode};

/// `struct file_clone_range` of `linux/fs.h`.
#[repr(C)]
struct CloneRange {
    source: i64,
    source_offset: u64,
    length: u64,
    target_offset: u64,
}

/// `FICLONERANGE` of `linux/fs.h`.
const FICLONERANGE: rustix::ioctl::Opcode = opcode::write::<CloneRange>(0x94, 13);

/// Makes `length` bytes of `target` share the blocks of `source`. Offsets and
/// length are multiples of the file systems' block size.
///
/// # Errors
/// When the files lie on different file systems, or on one that cannot.
pub(in crate::store) fn share(
    source: &File,
    source_offset: u64,
    target: &File,
    target_offset: u64,
    length: u64,
) -> io::Result<()> {
    let range = CloneRange {
        source: source.as_raw_fd().into(),
        source_offset,
        length,
        target_offset,
    };
    // SAFETY: FICLONERANGE reads a `struct file_clone_range`, which `CloneRange`
    // is, field by field.
    let request = unsafe { Setter::<FICLONERANGE, CloneRange>::new(range) };
    // SAFETY: the request only reads its argument; both files stay open.
    unsafe { ioctl(target, request) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_the_kernels() {
        assert_eq!(u64::from(FICLONERANGE), libc::FICLONERANGE);
    }
}
