//! Numbers of the requests, and what those are answered that nothing here
//! carries out.

use fuse_backend_rs::abi::fuse_abi::Opcode;

use crate::fs::Errno;

macro_rules! opcodes {
    ($($name:ident = $value:expr;)*) => {
        $(pub(super) const $name: u32 = $value;)*
    };
}

opcodes! {
    LOOKUP = Opcode::Lookup as u32;
    FORGET = Opcode::Forget as u32;
    GETATTR = Opcode::Getattr as u32;
    SETATTR = Opcode::Setattr as u32;
    READLINK = Opcode::Readlink as u32;
    SYMLINK = Opcode::Symlink as u32;
    MKNOD = Opcode::Mknod as u32;
    MKDIR = Opcode::Mkdir as u32;
    UNLINK = Opcode::Unlink as u32;
    RMDIR = Opcode::Rmdir as u32;
    RENAME = Opcode::Rename as u32;
    LINK = Opcode::Link as u32;
    OPEN = Opcode::Open as u32;
    READ = Opcode::Read as u32;
    WRITE = Opcode::Write as u32;
    STATFS = Opcode::Statfs as u32;
    RELEASE = Opcode::Release as u32;
    SETXATTR = Opcode::Setxattr as u32;
    GETXATTR = Opcode::Getxattr as u32;
    LISTXATTR = Opcode::Listxattr as u32;
    REMOVEXATTR = Opcode::Removexattr as u32;
    FSYNC = Opcode::Fsync as u32;
    FLUSH = Opcode::Flush as u32;
    INIT = Opcode::Init as u32;
    OPENDIR = Opcode::Opendir as u32;
    READDIR = Opcode::Readdir as u32;
    RELEASEDIR = Opcode::Releasedir as u32;
    FSYNCDIR = Opcode::Fsyncdir as u32;
    CREATE = Opcode::Create as u32;
    ACCESS = Opcode::Access as u32;
    INTERRUPT = Opcode::Interrupt as u32;
    DESTROY = Opcode::Destroy as u32;
    IOCTL = Opcode::Ioctl as u32;
    BATCH_FORGET = Opcode::BatchForget as u32;
    FALLOCATE = Opcode::Fallocate as u32;
    READDIRPLUS = Opcode::Readdirplus as u32;
    RENAME2 = Opcode::Rename2 as u32;
    LSEEK = Opcode::Lseek as u32;
    COPY_FILE_RANGE = Opcode::CopyFileRange as u32;
    SYNCFS = 50;
    TMPFILE = 51;
}

/// Whether the kernel waits for a reply to such a request.
pub(super) fn has_reply(opcode: u32) -> bool {
    !matches!(opcode, FORGET | BATCH_FORGET | INTERRUPT)
}

/// What a request is answered that is not carried out: `EROFS` if it would
/// change something, else mostly `ENOSYS`, upon which the kernel falls back to
/// its own ways and does not ask again (FLUSH, FSYNC, ACCESS, LSEEK, STATX and
/// POLL cost one round trip per mount that way).
pub(super) fn refusal(opcode: u32) -> Errno {
    match opcode {
        SETATTR | SYMLINK | MKNOD | MKDIR | UNLINK | RMDIR | RENAME | LINK | WRITE | SETXATTR
        | REMOVEXATTR | CREATE | FALLOCATE | RENAME2 | COPY_FILE_RANGE | TMPFILE => Errno::EROFS,
        IOCTL => Errno(libc::ENOTTY),
        _ => Errno::ENOSYS,
    }
}
