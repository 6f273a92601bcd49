//! A request: its header and the parts of its body, checked.

use fuse_backend_rs::abi::fuse_abi::InHeader;

use super::REQUEST_LIMIT;
use super::opcode::{self, refusal};
use super::wire::decode;
use crate::fs::Errno;

/// Longest name of a directory entry or an extended attribute, in bytes.
const NAME_MAX: usize = 255;

/// Longest target of a symbolic link, in bytes.
const TARGET_MAX: usize = 4095;

/// Header of a request, in private memory.
pub(super) struct Request<'a> {
    /// The header.
    pub(super) header: InHeader,
    /// Whether it may have been carried out before.
    pub(super) again: bool,
    bytes: &'a [u8],
    /// Bytes that follow elsewhere.
    more: usize,
}

impl<'a> Request<'a> {
    /// Reads the header; `None` when there is none to answer to. `more` bytes
    /// follow elsewhere.
    pub(super) fn parse(bytes: &'a [u8], more: usize) -> Option<Self> {
        let header = decode(bytes)?;
        Some(Self {
            header,
            again: false,
            bytes,
            more,
        })
    }

    /// What follows the header.
    ///
    /// # Errors
    /// When the length in the header is not the length of the request. A
    /// request that was cut at [`REQUEST_LIMIT`] is refused for what it wants
    /// (`EROFS`) or for its length (`E2BIG`).
    pub(super) fn body(&self) -> Result<&'a [u8], Errno> {
        let told = usize::try_from(self.header.len).map_err(|_| Errno::EINVAL)?;
        let there = self.bytes.len() + self.more;
        if told > there && self.bytes.len() >= REQUEST_LIMIT {
            return Err(match refusal(self.header.opcode) {
                Errno::EROFS => Errno::EROFS,
                _ => Errno(libc::E2BIG),
            });
        }
        if told != there {
            return Err(Errno::EINVAL);
        }
        Ok(self.bytes.get(size_of::<InHeader>()..).unwrap_or_default())
    }

    /// Whether the kernel waits for a reply.
    pub(super) fn has_reply(&self) -> bool {
        opcode::has_reply(self.header.opcode)
    }
}

/// Text that ends at the first NUL and has 1 to `max` bytes, and what follows the
/// NUL.
fn terminated(bytes: &[u8], max: usize) -> Result<(&[u8], &[u8]), Errno> {
    let end = bytes.iter().position(|&byte| byte == 0);
    let (text, rest) = end
        .and_then(|end| bytes.split_at_checked(end))
        .ok_or(Errno::EINVAL)?;
    match text.len() {
        0 => Err(Errno::EINVAL),
        len if len <= max => Ok((text, rest.get(1..).unwrap_or_default())),
        _ => Err(Errno::ENAMETOOLONG),
    }
}

/// The name of an extended attribute.
pub(super) fn xattr_name(bytes: &[u8]) -> Result<&[u8], Errno> {
    Ok(xattr_and_rest(bytes)?.0)
}

/// The name of an extended attribute, and what follows it.
pub(super) fn xattr_and_rest(bytes: &[u8]) -> Result<(&[u8], &[u8]), Errno> {
    terminated(bytes, NAME_MAX)
}

/// The name of a directory entry: never `.` or `..`, and without `/`.
pub(super) fn entry_name(bytes: &[u8]) -> Result<&[u8], Errno> {
    Ok(name_and_rest(bytes)?.0)
}

/// The name of a directory entry, and what follows it.
pub(super) fn name_and_rest(bytes: &[u8]) -> Result<(&[u8], &[u8]), Errno> {
    let (name, rest) = terminated(bytes, NAME_MAX)?;
    if name == b"." || name == b".." || name.contains(&b'/') {
        return Err(Errno::EINVAL);
    }
    Ok((name, rest))
}

/// The target of a symbolic link.
pub(super) fn target(bytes: &[u8]) -> Result<&[u8], Errno> {
    Ok(terminated(bytes, TARGET_MAX)?.0)
}
