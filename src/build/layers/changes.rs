//! What a layer does to the tree below it (OCI image specification 1.1,
//! `layer.md`).

use serde::{Deserialize, Serialize};

use crate::build::source::{EntryProblem, shown};
use crate::build::tree::Meta;

/// Longest name of a directory entry, in bytes.
const NAME_LIMIT: usize = 255;

/// How the names of whiteouts begin.
const WHITEOUT: &[u8] = b".wh.";

/// The whiteout of all that is in a directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// How the names of what AUFS keeps for itself begin. Hard links may lead to
/// files in it.
const AUFS: &[u8] = b".wh..wh.";

/// One entry of a layer, in the order of its archive. Paths have no slash at
/// their ends, no empty names and no dots; the root is the empty path.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Change<'a> {
    /// Something new, or new attributes of a directory.
    Node {
        path: &'a [u8],
        attributes: Attributes,
        #[serde(borrow)]
        xattrs: Vec<(&'a [u8], &'a [u8])>,
        what: What<'a>,
    },
    /// A further name.
    Link { path: &'a [u8], target: &'a [u8] },
}

/// The usual attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attributes {
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: i64,
    mtime_ns: u32,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What<'a> {
    /// A regular file whose chunks are listed from position `first` on.
    File { size: u64, first: u64 },
    /// A directory.
    Directory,
    /// A symbolic link with its target.
    Symlink(&'a [u8]),
    /// A character device.
    CharDevice(u32),
    /// A block device.
    BlockDevice(u32),
    /// A named pipe.
    Fifo,
}

/// What a layer takes away from the layers below, and from them only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Whiteout {
    /// The file or directory of that path.
    Path(Vec<u8>),
    /// All that the directory of that path holds.
    Content(Vec<u8>),
}

impl From<Meta> for Attributes {
    fn from(meta: Meta) -> Self {
        let Meta {
            mode,
            uid,
            gid,
            mtime,
            mtime_ns,
        } = meta;
        Self {
            mode,
            uid,
            gid,
            mtime,
            mtime_ns,
        }
    }
}

impl From<Attributes> for Meta {
    fn from(attributes: Attributes) -> Self {
        let Attributes {
            mode,
            uid,
            gid,
            mtime,
            mtime_ns,
        } = attributes;
        Self {
            mode,
            uid,
            gid,
            mtime,
            mtime_ns,
        }
    }
}

/// What the name of an entry means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// It is an entry at that path.
    Path(Vec<u8>),
    /// It takes something away.
    Whiteout(Whiteout),
    /// Nothing that concerns the image.
    Ignored,
}

impl Named {
    /// Reads a name as it is in an archive. What leaves the root is brought
    /// back to it, as `chroot` would.
    pub(super) fn read(name: &[u8]) -> Result<Self, EntryProblem> {
        let path = clean(name)?;
        let (above, last) = split(&path);
        if is_aufs(above.split(|byte| *byte == b'/').next().unwrap_or_default()) {
            return Ok(Self::Path(path));
        }
        if last == OPAQUE {
            return Ok(Self::Whiteout(Whiteout::Content(above.to_vec())));
        }
        if is_aufs(last) {
            return Ok(if above.is_empty() {
                Self::Path(path)
            } else {
                Self::Ignored
            });
        }
        match last.strip_prefix(WHITEOUT) {
            None => Ok(Self::Path(path)),
            Some(b"" | b"." | b"..") => Err(EntryProblem::Whiteout(shown(name))),
            Some(hidden) => {
                let path = match above {
                    [] => hidden.to_vec(),
                    above => [above, b"/", hidden].concat(),
                };
                Ok(Self::Whiteout(Whiteout::Path(path)))
            }
        }
    }
}

/// Whether something at the root is AUFS's own, and no part of an image.
pub(super) fn is_aufs(name: &[u8]) -> bool {
    name.starts_with(AUFS)
}

/// A path without dots, empty names and slashes at its ends.
pub(super) fn clean(path: &[u8]) -> Result<Vec<u8>, EntryProblem> {
    if path.is_empty() {
        return Err(EntryProblem::EmptyName);
    }
    if path.contains(&0) {
        return Err(EntryProblem::ZeroInName);
    }
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name if name.len() > NAME_LIMIT => {
                return Err(EntryProblem::NameTooLong(name.len()));
            }
            name => names.push(name),
        }
    }
    Ok(names.join(&b'/'))
}

/// The directory's path and the last name; both empty for the root.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        None => (b"", path),
    }
}

/// Whether a path is as [`clean`] makes it.
pub(super) fn is_clean(path: &[u8]) -> bool {
    path.is_empty() || clean(path).is_ok_and(|cleaned| cleaned == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Named {
        Named::read(name.as_bytes()).unwrap()
    }

    #[test]
    fn names_mean_entries_or_whiteouts() {
        let entry = |path: &str| Named::Path(path.into());
        let gone = |path: &str| Named::Whiteout(Whiteout::Path(path.into()));
        let empty = |path: &str| Named::Whiteout(Whiteout::Content(path.into()));
        assert_eq!(read("./a//b/"), entry("a/b"));
        assert_eq!(read("./"), entry(""));
        assert_eq!(read("/etc/passwd"), entry("etc/passwd"));
        assert_eq!(read("a/../../../b"), entry("b"));
        assert_eq!(read(".wh.a"), gone("a"));
        assert_eq!(read("d/.wh.a/"), gone("d/a"));
        assert_eq!(read("d/.wh..a"), gone("d/.a"));
        assert_eq!(read("d/.wh...a"), gone("d/..a"));
        assert_eq!(read("d/.wh..wh..opq"), empty("d"));
        assert_eq!(read(".wh..wh..opq"), empty(""));
        assert_eq!(read("d/.wh"), entry("d/.wh"));
        let odd = Named::read(b"d/.wh.\xff\xfe").unwrap();
        assert_eq!(odd, Named::Whiteout(Whiteout::Path(b"d/\xff\xfe".to_vec())));
    }

    #[test]
    fn what_aufs_keeps_for_itself_hides_nothing() {
        for name in [".wh..wh.plnk", ".wh..wh.plnk/12.34", ".wh..wh.aufs"] {
            assert_eq!(read(name), Named::Path(name.into()), "{name}");
        }
        assert_eq!(read("d/.wh..wh.orph"), Named::Ignored);
    }

    #[test]
    fn whiteouts_of_dots_are_refused() {
        for name in [".wh.", "a/.wh..", "a/.wh..."] {
            let problem = Named::read(name.as_bytes()).unwrap_err();
            assert!(matches!(problem, EntryProblem::Whiteout(_)), "{name}");
        }
        assert!(Named::read(b"").is_err());
        assert!(Named::read(b"a\0b").is_err());
        assert!(Named::read(&[b'x'; 256]).is_err());
    }

    #[test]
    fn clean_paths_are_told_from_others() {
        for good in ["", "a", "a/b"] {
            assert!(is_clean(good.as_bytes()), "{good}");
        }
        for bad in ["/", "a/", "a//b", "../a", "a/.", "."] {
            assert!(!is_clean(bad.as_bytes()), "{bad}");
        }
    }
}
