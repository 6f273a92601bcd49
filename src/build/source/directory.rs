//! Reads a directory into a tree.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Statx, StatxFlags};

use super::xattr::XattrReader;
use super::{SourceError, shown};
use crate::build::open::{PATH_LIMIT, open};
use crate::build::tree::{Content, Data, FileContent, Meta, Node, NodeIndex, Tree, device_number};

/// Bytes of the unit that `stx_blocks` counts in.
const STAT_BLOCK: u64 = 512;

/// Reads the tree below `path`, which may be a link to a directory. Links
/// inside are not followed, mount points are crossed.
///
/// # Errors
/// What the system refuses, and attributes that an image cannot hold; each
/// names the file.
pub fn scan(path: &Path) -> Result<Tree, SourceError> {
    // The dot makes the kernel follow a link at the root, and only there.
    let root = path.join(".");
    let mut scanner = Scanner {
        tree: Tree::default(),
        links: HashMap::new(),
        xattrs: XattrReader::new(),
    };
    let fd = open_directory(path, OFlags::empty())?;
    let stat = stat(&fd, c"", AtFlags::EMPTY_PATH).map_err(|error| failed("stat", path, error))?;
    let xattrs = scanner.xattrs.read(&root, path)?;
    drop(fd);
    let content = Content::Directory(Vec::new());
    scanner.tree.nodes.push(Node {
        meta: meta(&stat),
        xattrs,
        content,
    });

    let mut stack = vec![(path.to_owned(), 0)];
    while let Some((path, node)) = stack.pop() {
        let nofollow = if node == 0 {
            OFlags::empty()
        } else {
            OFlags::NOFOLLOW
        };
        scanner.directory(&path, node, nofollow, &mut stack)?;
    }
    Ok(scanner.tree)
}

struct Scanner {
    tree: Tree,
    /// Inodes with several names, by device and inode number.
    links: HashMap<(u32, u32, u64), NodeIndex>,
    xattrs: XattrReader,
}

impl Scanner {
    /// Fills the entries of the directory `node`; its subdirectories go to
    /// `stack`.
    fn directory(
        &mut self,
        path: &Path,
        node: NodeIndex,
        flags: OFlags,
        stack: &mut Vec<(PathBuf, NodeIndex)>,
    ) -> Result<(), SourceError> {
        let fd = open_directory(path, flags)?;
        let names = names(&fd).map_err(|error| failed("read directory", path, error))?;
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            let child = self.entry(&fd, path, &name)?;
            if let Some(Content::Directory(_)) = self.tree.nodes.get(child).map(|n| &n.content) {
                stack.push((path.join(OsStr::from_bytes(name.as_bytes())), child));
            }
            entries.push((name.into_bytes().into_boxed_slice(), child));
        }
        if let Some(node) = self.tree.nodes.get_mut(node) {
            node.content = Content::Directory(entries);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        dir: &OwnedFd,
        dir_path: &Path,
        name: &CString,
    ) -> Result<NodeIndex, SourceError> {
        let file_name = OsStr::from_bytes(name.as_bytes());
        let path = dir_path.join(file_name);
        let stat = stat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed("stat", &path, error))?;
        let kind = FileType::from_raw_mode(u32::from(stat.stx_mode));
        let key = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
        let linked = stat.stx_nlink > 1 && kind != FileType::Directory;
        if linked && let Some(known) = self.links.get(&key) {
            return Ok(*known);
        }
        let xattrs = if path.as_os_str().len() > PATH_LIMIT {
            let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
            self.xattrs.read(&short.join(file_name), &path)?
        } else {
            self.xattrs.read(&path, &path)?
        };
        let content = content(dir, name, path, kind, &stat)?;
        let index = self.tree.nodes.len();
        self.tree.nodes.push(Node {
            meta: meta(&stat),
            xattrs,
            content,
        });
        if linked {
            self.links.insert(key, index);
        }
        Ok(index)
    }
}

fn content(
    dir: &OwnedFd,
    name: &CString,
    path: PathBuf,
    kind: FileType,
    stat: &Statx,
) -> Result<Content, SourceError> {
    let device = || {
        let (major, minor) = (stat.stx_rdev_major, stat.stx_rdev_minor);
        device_number(major, minor).ok_or_else(|| SourceError::DeviceNumber {
            path: shown(path.as_os_str().as_bytes()),
            major,
            minor,
        })
    };
    Ok(match kind {
        FileType::RegularFile => Content::File(FileContent {
            size: stat.stx_size,
            data: Data::Path {
                path,
                sparse: stat.stx_blocks.saturating_mul(STAT_BLOCK) < stat.stx_size,
            },
            chunks: Vec::new(),
        }),
        FileType::Directory => Content::Directory(Vec::new()),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(dir, name, Vec::new())
                .map_err(|error| failed("read link", &path, error))?;
            Content::Symlink(target.into_bytes().into_boxed_slice())
        }
        FileType::CharacterDevice => Content::CharDevice(device()?),
        FileType::BlockDevice => Content::BlockDevice(device()?),
        FileType::Fifo => Content::Fifo,
        FileType::Socket => Content::Socket,
        FileType::Unknown => {
            return Err(SourceError::UnknownType {
                path: shown(path.as_os_str().as_bytes()),
                mode: stat.stx_mode,
            });
        }
    })
}

fn open_directory(path: &Path, flags: OFlags) -> Result<OwnedFd, SourceError> {
    open(path, flags | OFlags::DIRECTORY).map_err(|error| failed("open directory", path, error))
}

/// The names in a directory, sorted by bytes.
fn names(dir: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn stat(dir: &OwnedFd, name: &std::ffi::CStr, flags: AtFlags) -> rustix::io::Result<Statx> {
    rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS)
}

fn meta(stat: &Statx) -> Meta {
    Meta {
        mode: stat.stx_mode & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        mtime: stat.stx_mtime.tv_sec,
        mtime_ns: stat.stx_mtime.tv_nsec,
    }
}

fn failed(action: &'static str, path: &Path, error: rustix::io::Errno) -> SourceError {
    SourceError::Io {
        action,
        path: path.to_owned(),
        source: io::Error::from(error),
    }
}

#[cfg(test)]
mod tests;
