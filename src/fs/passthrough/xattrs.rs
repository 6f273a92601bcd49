//! Extended attributes, reached by the path of the descriptor, so that links,
//! devices and pipes have theirs too.

use rustix::fs::XattrFlags;
use rustix::io::Errno as HostErrno;

use super::PassthroughFs;
use super::host::path_of;
use super::ids::without_keeping_ids;
use crate::fs::Errno;
use crate::fs::operation::Reply;

/// Longest value and longest list of names that Linux has (`XATTR_SIZE_MAX`).
const LONGEST: usize = 64 << 10;

/// Where most fit.
const USUAL: usize = 256;

/// Prefix of access control lists.
const ACL: &[u8] = b"system.posix_acl_";

/// Asks with a small buffer, then with the largest.
fn ask(mut ask: impl FnMut(&mut [u8]) -> Result<usize, HostErrno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; USUAL];
    match ask(&mut small) {
        Ok(len) => return Ok(small.get(..len).unwrap_or_default().to_vec()),
        Err(HostErrno::RANGE) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut large = vec![0; LONGEST];
    let len = ask(&mut large)?;
    large.truncate(len);
    Ok(large)
}

impl PassthroughFs {
    /// # Errors
    /// `EOPNOTSUPP` when this one is not passed through.
    fn check_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        let acl = name.starts_with(ACL);
        if !self.options.xattr || (acl && !self.options.posix_acl) {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(())
    }

    /// GETXATTR.
    pub(super) fn get_xattr(&self, node: u64, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.check_xattr(name)?;
        let inode = self.inodes.get(node)?;
        let path = path_of(inode.fd());
        ask(|buffer| rustix::fs::getxattr(&path, name, buffer))
    }

    /// LISTXATTR.
    pub(super) fn list_xattrs(&self, node: u64) -> Result<Vec<u8>, Errno> {
        self.check_xattr(b"")?;
        let inode = self.inodes.get(node)?;
        let path = path_of(inode.fd());
        ask(|buffer| rustix::fs::listxattr(&path, buffer))
    }

    /// SETXATTR.
    pub(super) fn set_xattr(
        &self,
        node: u64,
        name: &[u8],
        value: &[u8],
        flags: u32,
        kill_sgid: bool,
    ) -> Result<Reply, Errno> {
        self.check_xattr(name)?;
        let inode = self.inodes.get(node)?;
        let _plain = kill_sgid.then(without_keeping_ids).transpose()?;
        let flags = XattrFlags::from_bits_retain(flags);
        rustix::fs::setxattr(path_of(inode.fd()), name, value, flags)?;
        Ok(Reply::Done)
    }

    /// REMOVEXATTR.
    pub(super) fn remove_xattr(&self, node: u64, name: &[u8]) -> Result<Reply, Errno> {
        self.check_xattr(name)?;
        let inode = self.inodes.get(node)?;
        rustix::fs::removexattr(path_of(inode.fd()), name)?;
        Ok(Reply::Done)
    }
}
