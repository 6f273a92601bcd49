//! The calls by which nodes of the host are found, looked at and opened.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, StatxTimestamp, makedev};
use rustix::io::Errno;

use crate::fs::{Attr, OtherTimes};

/// What is known of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stat {
    /// Device number of its file system.
    pub(super) dev: u64,
    /// Number of the mount that it was found in.
    pub(super) mount: u64,
    /// Inode number in its file system.
    pub(super) ino: u64,
    /// Its attributes, with that inode number.
    pub(super) attr: Attr,
}

impl Stat {
    /// Looks at the node behind a descriptor.
    pub(super) fn of(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, mask)?;
        let time = |time: StatxTimestamp| (time.tv_sec, time.tv_nsec);
        let attr = Attr {
            ino: stat.stx_ino,
            mode: stat.stx_mode.into(),
            nlink: stat.stx_nlink,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            rdev: device_number(stat.stx_rdev_major, stat.stx_rdev_minor),
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            mtime: time(stat.stx_mtime),
            other_times: Some(OtherTimes {
                atime: time(stat.stx_atime),
                ctime: time(stat.stx_ctime),
            }),
            block_size: stat.stx_blksize,
            submount: false,
        };
        Ok(Self {
            dev: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            mount: stat.stx_mnt_id,
            ino: stat.stx_ino,
            attr,
        })
    }

    /// The type bits of its mode.
    pub(super) fn file_type(&self) -> u32 {
        self.attr.mode & libc::S_IFMT
    }

    /// Whether it is a directory.
    pub(super) fn is_dir(&self) -> bool {
        self.file_type() == libc::S_IFDIR
    }
}

/// When the node behind a descriptor was made, where its file system knows.
pub(super) fn birth(fd: BorrowedFd<'_>) -> Option<(i64, u32)> {
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    let known = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    known.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))
}

/// A device number in the encoding of FUSE (the kernel's `new_encode_dev`).
fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The same backwards, as `mknod` takes it.
pub(super) fn device(number: u32) -> u64 {
    let major = (number & 0xf_ff00) >> 8;
    let minor = (number & 0xff) | ((number >> 12) & 0xf_ff00);
    makedev(major, minor)
}

/// Opens the directory that is passed through.
pub(super) fn open_source(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

/// Finds `name`, a single component, in a directory, without following a link.
pub(super) fn find(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// A path to the node behind a descriptor, whatever names it has.
pub(super) fn path_of(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Opens the node behind a descriptor anew, with flags of `open(2)`. The caller
/// makes sure that it is a regular file or a directory.
pub(super) fn reopen(fd: BorrowedFd<'_>, flags: i32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::from_bits_retain(flags.cast_unsigned());
    let flags = (flags | OFlags::CLOEXEC) - OFlags::NOFOLLOW;
    rustix::fs::openat(CWD, path_of(fd), flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_encoded_as_the_kernel_does() {
        for (major, minor, encoded) in [(0, 0, 0), (1, 3, 0x103), (259, 0x12345, 0x1231_0345)] {
            assert_eq!(device_number(major, minor), encoded);
            assert_eq!(device(encoded), makedev(major, minor));
        }
    }
}
