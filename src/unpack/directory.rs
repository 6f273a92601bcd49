//! Unpacks an image into a directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType as NodeType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, mknodat,
    utimensat,
};

use crate::fs::walk::{self, Step, WalkError};
use crate::image::{Content, FileType, Image, Node};
use crate::store::Store;
use crate::unpack::UnpackError;

/// Restores the whole tree in `target`, which must be empty or not exist.
/// Owners, devices and most xattrs need root.
///
/// # Errors
/// At the first entry that cannot be proved or made.
pub fn unpack(image: &Image, store: &Arc<Store>, target: &Path) -> Result<(), UnpackError> {
    let make = |path: &[u8], source| UnpackError::Make {
        path: walk::show(path),
        target: target.to_owned(),
        source,
    };
    fs::create_dir_all(target).map_err(|error| make(b"", error))?;
    if fs::read_dir(target)
        .map_err(|error| make(b"", error))?
        .next()
        .is_some()
    {
        return Err(UnpackError::NotEmpty {
            target: target.to_owned(),
        });
    }
    let mut links: HashMap<u64, PathBuf> = HashMap::new();
    let mut directories: Vec<(PathBuf, Arc<Node>)> = Vec::new();
    let mut failed = None;
    walk::walk(image, &mut |step| {
        let done = match step {
            Step::Fault(path, source) => Err(UnpackError::Image {
                path: walk::show(path),
                source,
            }),
            Step::Node(path, node) => {
                let place = target.join(OsStr::from_bytes(path));
                let kind = node.attr.file_type;
                if kind == FileType::Directory {
                    directories.push((place.clone(), Arc::clone(node)));
                }
                match links.get(&node.nid) {
                    // The root is there already.
                    None if path.is_empty() => Ok(()),
                    Some(first) => fs::hard_link(first, &place).map_err(|error| make(path, error)),
                    None => {
                        if node.attr.nlink > 1 && kind != FileType::Directory {
                            links.insert(node.nid, place.clone());
                        }
                        create(image, store, &place, node).map_err(|error| match error {
                            Trouble::Image(source) => UnpackError::Image {
                                path: walk::show(path),
                                source,
                            },
                            Trouble::Make(source) => make(path, source),
                        })
                    }
                }
            }
        };
        failed = done.err();
        failed.is_none()
    });
    if let Some(error) = failed {
        return Err(error);
    }
    // Filling a directory changes its time, and a mode may forbid filling it.
    for (place, node) in directories.iter().rev() {
        attributes(place, node).map_err(|error| make(place.as_os_str().as_bytes(), error))?;
    }
    Ok(())
}

enum Trouble {
    Image(WalkError),
    Make(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Make(error)
    }
}

impl From<rustix::io::Errno> for Trouble {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Make(error.into())
    }
}

/// Makes one node; a directory without its attributes.
fn create(image: &Image, store: &Arc<Store>, place: &Path, node: &Node) -> Result<(), Trouble> {
    let device = |kind| {
        let rdev = node.attr.rdev;
        let (major, minor) = (
            (rdev >> 8) & 0xfff,
            (rdev & 0xff) | ((rdev >> 12) & 0xf_ff00),
        );
        mknodat(
            CWD,
            place,
            kind,
            Mode::RUSR,
            rustix::fs::makedev(major, minor),
        )
    };
    match &node.content {
        Content::Directory(_) => return Ok(fs::create_dir(place)?),
        Content::File(_) => {
            let file = File::create_new(place)?;
            write_file(image, store, node, &file)?;
        }
        Content::Symlink(target) => symlink(OsStr::from_bytes(target), place)?,
        Content::Special => match node.attr.file_type {
            FileType::CharDevice => device(NodeType::CharacterDevice)?,
            FileType::BlockDevice => device(NodeType::BlockDevice)?,
            FileType::Fifo => mknodat(CWD, place, NodeType::Fifo, Mode::RUSR, 0)?,
            _ => mknodat(CWD, place, NodeType::Socket, Mode::RUSR, 0)?,
        },
    }
    attributes(place, node)?;
    Ok(())
}

/// Writes a file's bytes; chunks of zeros become holes.
fn write_file(image: &Image, store: &Arc<Store>, node: &Node, file: &File) -> Result<(), Trouble> {
    file.set_len(node.attr.size)?;
    let mut offset = 0;
    let written = walk::read_file(image, store, node, &mut |bytes| {
        if bytes.iter().any(|&byte| byte != 0) {
            file.write_all_at(bytes, offset)?;
        }
        offset += bytes.len() as u64;
        Ok(())
    });
    match written {
        Err(WalkError::Write(error)) => Err(Trouble::Make(error)),
        Err(error) => Err(Trouble::Image(error)),
        Ok(()) => Ok(()),
    }
}

fn attributes(place: &Path, node: &Node) -> io::Result<()> {
    let attr = &node.attr;
    let link = attr.file_type == FileType::Symlink;
    if link {
        lchown(place, Some(attr.uid), Some(attr.gid))?;
    } else {
        // The owner goes first: changing it clears the set-user-id bits.
        chown(place, Some(attr.uid), Some(attr.gid))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(u32::from(attr.mode));
        fs::set_permissions(place, mode)?;
    }
    for (name, value) in &node.xattrs {
        lsetxattr(place, OsStr::from_bytes(name), value, XattrFlags::empty())?;
    }
    let time = Timespec {
        tv_sec: attr.mtime,
        tv_nsec: attr.mtime_ns.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, place, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}
