//! Nodes of a daemon before this one, found again.
//!
//! A node is found by the kernel's handle, wherever it has gone; where there is
//! none, or this process may not use it, by the name that it had last in a directory
//! that was found. Either way it must be the very node: device, inode number, type
//! and birth are compared, and what cannot be compared is not taken.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use rustix::fs::{CWD, Mode, OFlags, makedev};

use super::host::{self, Stat};
use super::inode::Inode;
use super::keep::Record;

/// A mount of the host.
struct HostMount {
    id: u64,
    dev: u64,
    path: PathBuf,
}

/// Finds nodes of one passed-through directory.
pub(super) struct Finder<'a> {
    root: BorrowedFd<'a>,
    /// The mount that it is in now, and was in before.
    mounts: (u64, u64),
    host: Vec<HostMount>,
    /// Descriptors in mounts by which handles are opened, by number then.
    opened: HashMap<u64, Option<OwnedFd>>,
}

impl<'a> Finder<'a> {
    /// Of the directory behind `root`, in the mount `now`, which was number `before`.
    pub(super) fn new(root: BorrowedFd<'a>, now: u64, before: u64) -> Self {
        Self {
            root,
            mounts: (now, before),
            host: mounts(),
            opened: HashMap::new(),
        }
    }

    /// Finds a node; `parent` is the directory that its name was in, if that was
    /// found.
    pub(super) fn find(
        &mut self,
        record: &Record,
        parent: Option<&Inode>,
    ) -> Option<(OwnedFd, Stat)> {
        let by_handle = self.by_handle(record);
        by_handle.or_else(|| Self::by_name(record, parent))
    }

    /// Finds a node by its name alone.
    pub(super) fn by_name(record: &Record, parent: Option<&Inode>) -> Option<(OwnedFd, Stat)> {
        let fd = host::find(parent?.directory().ok()?, &record.name).ok()?;
        Self::check(record, fd, false)
    }

    fn by_handle(&mut self, record: &Record) -> Option<(OwnedFd, Stat)> {
        let handle = record.identity.handle?;
        let (dev, mount, _) = record.identity.key;
        let mount = self.mount(mount, dev)?;
        let fd = handle.open(mount).ok()?;
        Self::check(record, fd, true)
    }

    fn check(record: &Record, fd: OwnedFd, by_handle: bool) -> Option<(OwnedFd, Stat)> {
        let stat = Stat::of(fd.as_fd()).ok()?;
        record
            .identity
            .is(fd.as_fd(), &stat, by_handle)
            .then_some((fd, stat))
    }

    /// A descriptor in the mount that had this number.
    fn mount(&mut self, before: u64, dev: u64) -> Option<BorrowedFd<'_>> {
        let (root, mounts, host) = (self.root, self.mounts, &self.host);
        let opened = self.opened.entry(before).or_insert_with(|| {
            if before == mounts.1 {
                let flags = libc::O_RDONLY | libc::O_DIRECTORY;
                return host::reopen(root, flags).ok();
            }
            // In another namespace of mounts it has another number.
            let same = host
                .iter()
                .find(|mount| (mount.id, mount.dev) == (before, dev));
            let mut others = host.iter().filter(|mount| mount.dev == dev);
            let only = match (others.next(), others.next()) {
                (Some(only), None) => Some(only),
                _ => None,
            };
            enter(same.or(only)?)
        });
        opened.as_ref().map(AsFd::as_fd)
    }
}

/// Opens the root of a mount, if it is what its path leads to.
fn enter(mount: &HostMount) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, &mount.path, flags, Mode::empty()).ok()?;
    let stat = Stat::of(fd.as_fd()).ok()?;
    if stat.mount != mount.id {
        return None;
    }
    match stat.file_type() {
        libc::S_IFDIR | libc::S_IFREG => {
            host::reopen(fd.as_fd(), libc::O_RDONLY | libc::O_NONBLOCK).ok()
        }
        _ => None,
    }
}

/// The mounts of the host, as far as this process can see them.
fn mounts() -> Vec<HostMount> {
    let Ok(table) = fs::read("/proc/self/mountinfo") else {
        return Vec::new();
    };
    table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let mut words = line.split(|&byte| byte == b' ');
            let text = |word: Option<&[u8]>| std::str::from_utf8(word?).ok().map(str::to_owned);
            let id = text(words.next())?.parse().ok()?;
            let device = text(words.nth(1))?;
            let (major, minor) = device.split_once(':')?;
            let path = unescape(words.nth(1)?);
            Some(HostMount {
                id,
                dev: makedev(major.parse().ok()?, minor.parse().ok()?),
                path: Path::new(&std::ffi::OsString::from_vec(path)).to_owned(),
            })
        })
        .collect()
}

/// Takes `\040` and its like back.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, more)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| more.get(..3)).flatten();
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                rest = &more[3..];
            }
            None => {
                plain.push(byte);
                rest = more;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_odd_names() {
        assert_eq!(unescape(br"/a\040b\134c"), br"/a b\c");
        assert_eq!(unescape(br"/a\9"), br"/a\9");
        let all = mounts();
        let root = all
            .iter()
            .find(|mount| mount.path == Path::new("/"))
            .unwrap();
        let fd = enter(root).unwrap();
        assert_eq!(Stat::of(fd.as_fd()).unwrap().mount, root.id);
    }
}
