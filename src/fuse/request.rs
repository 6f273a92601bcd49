//! A request: its header and the parts of its body, checked.

use fuse_backend_rs::abi::fuse_abi::InHeader;

use super::REQUEST_LIMIT;
use super::opcode::{self, refusal};
use super::wire::decode;
use crate::fs::Errno;

/// Longest name of a directory entry or an extended attribute, in bytes.
const NAME_MAX: usize = 255;

/// Header of a request, in private memory.
pub(super) struct Request<'a> {
    /// The header.
    pub(super) header: InHeader,
    bytes: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads the header; `None` when there is none to answer to.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = decode(bytes)?;
        Some(Self { header, bytes })
    }

    /// What follows the header.
    ///
    /// # Errors
    /// When the length in the header is not the length of the request. A
    /// request that was cut at [`REQUEST_LIMIT`] is refused for what it wants
    /// (`EROFS`) or for its length (`E2BIG`).
    pub(super) fn body(&self) -> Result<&'a [u8], Errno> {
        let told = usize::try_from(self.header.len).map_err(|_| Errno::EINVAL)?;
        if told > self.bytes.len() && self.bytes.len() >= REQUEST_LIMIT {
            return Err(match refusal(self.header.opcode) {
                Errno::EROFS => Errno::EROFS,
                _ => Errno(libc::E2BIG),
            });
        }
        if told != self.bytes.len() {
            return Err(Errno::EINVAL);
        }
        Ok(self.bytes.get(size_of::<InHeader>()..).unwrap_or_default())
    }

    /// Whether the kernel waits for a reply.
    pub(super) fn has_reply(&self) -> bool {
        opcode::has_reply(self.header.opcode)
    }
}

/// A name that ends at the first NUL.
fn terminated(bytes: &[u8]) -> Result<&[u8], Errno> {
    let end = bytes.iter().position(|&byte| byte == 0);
    let name = end.and_then(|end| bytes.get(..end)).ok_or(Errno::EINVAL)?;
    match name.len() {
        0 => Err(Errno::EINVAL),
        1..=NAME_MAX => Ok(name),
        _ => Err(Errno::ENAMETOOLONG),
    }
}

/// The name of an extended attribute.
pub(super) fn xattr_name(bytes: &[u8]) -> Result<&[u8], Errno> {
    terminated(bytes)
}

/// The name of a directory entry: never `.` or `..`, and without `/`.
pub(super) fn entry_name(bytes: &[u8]) -> Result<&[u8], Errno> {
    let name = terminated(bytes)?;
    if name == b"." || name == b".." || name.contains(&b'/') {
        return Err(Errno::EINVAL);
    }
    Ok(name)
}
