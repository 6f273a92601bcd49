//! Extended attributes: which an image can hold, and how a file's are read.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{SourceError, shown};
use crate::build::tree::Xattrs;

/// Longest attribute name without its prefix, in bytes.
const NAME_LIMIT: usize = 255;

/// Longest value, in bytes (the format counts it with 16 bits).
const VALUE_LIMIT: usize = 0xffff;

/// Bytes of the longest list of names and of the longest value that Linux
/// hands out.
const KERNEL_LIMIT: usize = 65536;

/// Why an image cannot hold an extended attribute.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum XattrProblem {
    /// Another name space.
    #[error(
        "Only user.*, trusted.*, security.*, system.posix_acl_access and \
         system.posix_acl_default can be stored"
    )]
    Namespace,
    /// Nothing or too much behind the prefix.
    #[error("The name has {0} bytes behind its prefix, allowed are 1 to {NAME_LIMIT}")]
    NameLength(usize),
    /// Too long a value.
    #[error("The value has {0} bytes, allowed are {VALUE_LIMIT}")]
    ValueLength(usize),
}

/// Whether an image can hold the attribute `name` with a value of `len` bytes.
pub(in crate::build) fn check(name: &[u8], len: usize) -> Result<(), XattrProblem> {
    let prefixes: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    match prefixes
        .iter()
        .find_map(|prefix| name.strip_prefix(*prefix))
    {
        Some(rest) if !(1..=NAME_LIMIT).contains(&rest.len()) => {
            return Err(XattrProblem::NameLength(rest.len()));
        }
        None if !matches!(
            name,
            b"system.posix_acl_access" | b"system.posix_acl_default"
        ) =>
        {
            return Err(XattrProblem::Namespace);
        }
        _ => {}
    }
    if len > VALUE_LIMIT {
        Err(XattrProblem::ValueLength(len))
    } else {
        Ok(())
    }
}

/// Reads attributes; its buffers serve many files.
pub(super) struct XattrReader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl XattrReader {
    pub(super) fn new() -> Self {
        Self {
            names: vec![0; KERNEL_LIMIT],
            value: vec![0; KERNEL_LIMIT],
        }
    }

    /// The attributes of `path` (links are not followed), sorted by name.
    /// Messages call the file `name`.
    pub(super) fn read(&mut self, path: &Path, name: &Path) -> Result<Xattrs, SourceError> {
        let used = match rustix::fs::llistxattr(path, self.names.as_mut_slice()) {
            Ok(used) => used,
            Err(rustix::io::Errno::NOTSUP) => 0,
            Err(error) => return Err(failed("list the extended attributes of", name, error)),
        };
        let mut found = Vec::new();
        let names = self.names.get(..used).unwrap_or_default();
        for key in names.split(|byte| *byte == 0).filter(|key| !key.is_empty()) {
            let refuse = |source| SourceError::Xattr {
                path: shown(name.as_os_str().as_bytes()),
                name: shown(key),
                source,
            };
            check(key, 0).map_err(refuse)?;
            let used =
                rustix::fs::lgetxattr(path, OsStr::from_bytes(key), self.value.as_mut_slice())
                    .map_err(|error| failed("read an extended attribute of", name, error))?;
            check(key, used).map_err(refuse)?;
            found.push((
                key.to_vec(),
                self.value.get(..used).unwrap_or_default().to_vec(),
            ));
        }
        found.sort_unstable();
        Ok(found)
    }
}

fn failed(action: &'static str, path: &Path, error: rustix::io::Errno) -> SourceError {
    SourceError::Io {
        action,
        path: PathBuf::from(path),
        source: io::Error::from(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_an_image_can_hold_pass_and_others_do_not() {
        for name in ["user.a", "trusted.overlay.opaque", "security.capability"] {
            assert_eq!(check(name.as_bytes(), 0xffff), Ok(()), "{name}");
        }
        assert_eq!(check(b"system.posix_acl_default", 4), Ok(()));
        for name in [
            "system.posix_acl_accessory",
            "system.nfs4_acl",
            "btrfs.compression",
            "user",
        ] {
            assert_eq!(
                check(name.as_bytes(), 1),
                Err(XattrProblem::Namespace),
                "{name}"
            );
        }
        assert_eq!(check(b"user.", 1), Err(XattrProblem::NameLength(0)));
        let long = [b"user.".as_slice(), &[b'x'; 256]].concat();
        assert_eq!(check(&long, 1), Err(XattrProblem::NameLength(256)));
        assert_eq!(
            check(b"user.a", 0x10000),
            Err(XattrProblem::ValueLength(0x10000))
        );
    }
}
