//! Requests that open, change or flush something: from the wire to an
//! [`Operation`], and its [`Reply`] back.

use fuse_backend_rs::abi::fuse_abi as abi;
use vm17::ByteValued;

use super::WRITE_HEAD_LEN;
use super::encode::{attr_out, entry_out, open_out};
use super::opcode as op;
use super::reply::{Answer, needs_room, put, put_bytes};
use super::request::{Request, entry_name, name_and_rest, target, xattr_and_rest, xattr_name};
use super::wire::decode as read;
use crate::destination::Destination;
use crate::fs::Errno;
use crate::fs::operation::{
    Making, OpenFile, Opened, Operation, Reply, SetAttr, SetTime, opens_for_writing,
};
use crate::payload::Payload;

/// How files of a read-only file system are opened.
pub(super) const OPENED: Opened = Opened {
    handle: 0,
    keep_cache: true,
    direct: false,
    cache_listing: false,
};

/// How its directories are opened.
pub(super) const OPENED_DIR: Opened = Opened {
    cache_listing: true,
    ..OPENED
};

/// `FUSE_SETXATTR_ACL_KILL_SGID`.
const ACL_KILL_SGID: u32 = 1;

/// `FUSE_FSYNC_FDATASYNC`.
const DATA_ONLY: u32 = 1;

/// Bits of `valid` in SETATTR (`FATTR_*`).
mod valid {
    pub(super) const MODE: u32 = 1;
    pub(super) const UID: u32 = 1 << 1;
    pub(super) const GID: u32 = 1 << 2;
    pub(super) const SIZE: u32 = 1 << 3;
    pub(super) const ATIME: u32 = 1 << 4;
    pub(super) const MTIME: u32 = 1 << 5;
    pub(super) const ATIME_NOW: u32 = 1 << 7;
    pub(super) const MTIME_NOW: u32 = 1 << 8;
    pub(super) const KILL_SUIDGID: u32 = 1 << 11;
}

/// A struct at the start of a body, and what follows it.
fn head<T: ByteValued + Default>(body: &[u8]) -> Result<(T, &[u8]), Errno> {
    let value = read(body).ok_or(Errno::EINVAL)?;
    Ok((value, body.get(size_of::<T>()..).unwrap_or_default()))
}

/// What a request asks for.
///
/// # Errors
/// `EINVAL` and `ENAMETOOLONG` for what makes no sense; what a request is always
/// answered that no file system here carries out.
pub(super) fn decode<'a>(
    request: &Request<'a>,
    payload: Payload<'a>,
    setxattr_ext: bool,
) -> Result<Operation<'a>, Errno> {
    let body = request.body()?;
    Ok(match request.header.opcode {
        op::OPEN => {
            let (open, _) = head::<abi::OpenIn>(body)?;
            Operation::Open {
                flags: open.flags,
                kill_privileges: open.fuse_flags & abi::FOPEN_IN_KILL_SUIDGID != 0,
            }
        }
        op::OPENDIR => {
            head::<abi::OpenIn>(body)?;
            Operation::OpenDir
        }
        op::RELEASE | op::RELEASEDIR => Operation::Release(head::<abi::ReleaseIn>(body)?.0.fh),
        op::CREATE | op::TMPFILE => {
            let (create, rest) = head::<abi::CreateIn>(body)?;
            let making = Making {
                mode: create.mode,
                umask: create.umask,
            };
            let flags = create.flags;
            if request.header.opcode == op::TMPFILE {
                return Ok(Operation::TmpFile { flags, making });
            }
            Operation::Create {
                name: entry_name(rest)?,
                flags,
                making,
                kill_privileges: create.fuse_flags & abi::FOPEN_IN_KILL_SUIDGID != 0,
            }
        }
        op::MKNOD => {
            let (mknod, rest) = head::<abi::MknodIn>(body)?;
            Operation::Mknod {
                name: entry_name(rest)?,
                making: Making {
                    mode: mknod.mode,
                    umask: mknod.umask,
                },
                rdev: mknod.rdev,
            }
        }
        op::MKDIR => {
            let (mkdir, rest) = head::<abi::MkdirIn>(body)?;
            Operation::Mkdir {
                name: entry_name(rest)?,
                making: Making {
                    mode: mkdir.mode,
                    umask: mkdir.umask,
                },
            }
        }
        op::SYMLINK => {
            let (name, rest) = name_and_rest(body)?;
            Operation::Symlink {
                name,
                target: target(rest)?,
            }
        }
        op::LINK => {
            let (link, rest) = head::<abi::LinkIn>(body)?;
            Operation::Link {
                node: link.oldnodeid,
                name: entry_name(rest)?,
            }
        }
        op::UNLINK => Operation::Unlink(entry_name(body)?),
        op::RMDIR => Operation::Rmdir(entry_name(body)?),
        op::RENAME => {
            let (rename, rest) = head::<abi::RenameIn>(body)?;
            rename_of(rename.newdir, 0, rest)?
        }
        op::RENAME2 => {
            let (rename, rest) = head::<abi::Rename2In>(body)?;
            rename_of(rename.newdir, rename.flags, rest)?
        }
        op::SETATTR => Operation::SetAttr(setattr(&head::<abi::SetattrIn>(body)?.0)),
        op::WRITE => {
            let (write, rest) = head::<abi::WriteIn>(body)?;
            debug_assert_eq!(size_of::<abi::WriteIn>() + 40, WRITE_HEAD_LEN);
            let data = payload.behind(rest);
            if usize::try_from(write.size) != Ok(data.len()) {
                return Err(Errno::EINVAL);
            }
            Operation::Write {
                handle: write.fh,
                offset: write.offset,
                data,
                kill_privileges: write.fuse_flags & abi::WRITE_KILL_PRIV != 0,
            }
        }
        op::FLUSH => Operation::Flush(head::<abi::FlushIn>(body)?.0.fh),
        opcode @ (op::FSYNC | op::FSYNCDIR) => {
            let (fsync, _) = head::<abi::FsyncIn>(body)?;
            let (handle, data_only) = (fsync.fh, fsync.fsync_flags & DATA_ONLY != 0);
            if opcode == op::FSYNC {
                Operation::Fsync { handle, data_only }
            } else {
                Operation::FsyncDir { handle, data_only }
            }
        }
        op::SETXATTR => set_xattr(body, setxattr_ext)?,
        op::REMOVEXATTR => Operation::RemoveXattr(xattr_name(body)?),
        op::FALLOCATE => {
            let (fallocate, _) = head::<abi::FallocateIn>(body)?;
            Operation::Fallocate {
                handle: fallocate.fh,
                mode: fallocate.mode,
                offset: fallocate.offset,
                len: fallocate.length,
            }
        }
        op::LSEEK => {
            let (lseek, _) = head::<abi::LseekIn>(body)?;
            Operation::Lseek {
                handle: lseek.fh,
                offset: lseek.offset,
                whence: lseek.whence,
            }
        }
        op::COPY_FILE_RANGE => {
            let (copy, _) = head::<abi::CopyFileRangeIn>(body)?;
            if copy.flags != 0 {
                return Err(Errno::EINVAL);
            }
            Operation::CopyRange {
                handle: copy.fh_in,
                offset: copy.offset_in,
                to: OpenFile {
                    node: copy.nodeid_out,
                    handle: copy.fh_out,
                },
                to_offset: copy.offset_out,
                len: copy.len,
            }
        }
        op::SYNCFS => Operation::SyncFs,
        op::ACCESS => Operation::Access(head::<abi::AccessIn>(body)?.0.mask),
        other => return Err(op::refusal(other)),
    })
}

fn rename_of(to: u64, flags: u32, names: &[u8]) -> Result<Operation<'_>, Errno> {
    let (name, rest) = name_and_rest(names)?;
    Ok(Operation::Rename {
        name,
        to,
        to_name: entry_name(rest)?,
        flags,
    })
}

fn set_xattr(body: &[u8], extended: bool) -> Result<Operation<'_>, Errno> {
    let (set, rest) = head::<abi::SetxattrIn>(body)?;
    let (more, rest) = if extended {
        head::<u64>(rest)?
    } else {
        (0, rest)
    };
    let (name, value) = xattr_and_rest(rest)?;
    if usize::try_from(set.size) != Ok(value.len()) {
        return Err(Errno::EINVAL);
    }
    Ok(Operation::SetXattr {
        name,
        value,
        flags: set.flags,
        // The first half of the second word pair.
        kill_sgid: more & u64::from(ACL_KILL_SGID) != 0,
    })
}

fn setattr(from: &abi::SetattrIn) -> SetAttr {
    let has = |bit| from.valid & bit != 0;
    let time = |set, now, seconds: u64, nanos| match (has(set), has(now)) {
        (_, true) => Some(SetTime::Now),
        (true, false) => Some(SetTime::At(seconds.cast_signed(), nanos)),
        (false, false) => None,
    };
    SetAttr {
        mode: has(valid::MODE).then_some(from.mode),
        uid: has(valid::UID).then_some(from.uid),
        gid: has(valid::GID).then_some(from.gid),
        size: has(valid::SIZE).then_some(from.size),
        atime: time(valid::ATIME, valid::ATIME_NOW, from.atime, from.atimensec),
        mtime: time(valid::MTIME, valid::MTIME_NOW, from.mtime, from.mtimensec),
        kill_privileges: has(valid::KILL_SUIDGID),
    }
}

/// Refuses a request whose reply would not fit before it has any effect.
pub(super) fn needs_room_for(opcode: u32, out: &Destination<'_>) -> Result<(), Errno> {
    match opcode {
        op::CREATE | op::TMPFILE => needs_room::<(abi::EntryOut, abi::OpenOut)>(out),
        op::MKNOD | op::MKDIR | op::SYMLINK | op::LINK => needs_room::<abi::EntryOut>(out),
        op::SETATTR => needs_room::<abi::AttrOut>(out),
        op::OPEN | op::OPENDIR => needs_room::<abi::OpenOut>(out),
        op::WRITE | op::COPY_FILE_RANGE | op::LSEEK => needs_room::<u64>(out),
        _ => Ok(()),
    }
}

/// Makes what became of an operation the reply.
pub(super) fn put_reply(
    opcode: u32,
    reply: Reply,
    out: &mut Destination<'_>,
) -> Result<Answer, Errno> {
    match reply {
        Reply::Done => Ok(Answer::Data(0)),
        Reply::Count(count) => put_bytes(out, &counted(opcode, count)),
        Reply::Entry(entry) => put(out, &entry_out(&entry)),
        Reply::Attr(attr, timeout) => put(out, &attr_out(&attr, timeout)),
        Reply::Opened(opened) => put(out, &open_out(&opened)),
        Reply::Created(entry, opened) => {
            let (entry, opened) = (entry_out(&entry), open_out(&opened));
            put_bytes(out, &[entry.as_slice(), opened.as_slice()].concat())
        }
        Reply::Later(change) => {
            let size = counted(opcode, 0).len();
            let data = async move {
                let count = change.await?;
                Ok(vec![counted(opcode, count).into()])
            };
            Ok(Answer::Later(size, Box::pin(data)))
        }
    }
}

/// A count in the layout of a request's reply.
fn counted(opcode: u32, count: u64) -> Vec<u8> {
    match opcode {
        op::WRITE | op::COPY_FILE_RANGE => {
            let size = u32::try_from(count).unwrap_or(u32::MAX);
            let out = abi::WriteOut { size, padding: 0 };
            out.as_slice().to_vec()
        }
        op::LSEEK => abi::LseekOut { offset: count }.as_slice().to_vec(),
        _ => Vec::new(),
    }
}

/// What is answered for a file system that has no use for an operation, on a
/// device where others have: `ENOSYS` would hold for all of them.
pub(super) enum Idle {
    Open { writing: bool },
    OpenDir,
    Nothing,
    Seek { offset: u64, whence: u32 },
    Refuse,
}

impl Idle {
    /// That of an operation.
    pub(super) fn of(operation: &Operation<'_>) -> Self {
        match *operation {
            Operation::Open { flags, .. } => Self::Open {
                writing: opens_for_writing(flags),
            },
            Operation::OpenDir => Self::OpenDir,
            Operation::Lseek { offset, whence, .. } => Self::Seek { offset, whence },
            _ if !operation.changes() => Self::Nothing,
            _ => Self::Refuse,
        }
    }

    /// The answer; `size` is asked for the size of the file.
    pub(super) fn answer(
        self,
        opcode: u32,
        size: impl FnOnce() -> Result<u64, Errno>,
    ) -> Result<Reply, Errno> {
        match self {
            Self::Open { writing: true } => Err(Errno::EROFS),
            Self::Open { writing: false } => Ok(Reply::Opened(OPENED)),
            Self::OpenDir => Ok(Reply::Opened(OPENED_DIR)),
            Self::Nothing => Ok(Reply::Done),
            Self::Seek { offset, whence } => seek(offset, whence, size()?),
            Self::Refuse => Err(op::refusal(opcode)),
        }
    }
}

/// LSEEK in a file without holes.
fn seek(offset: u64, whence: u32, size: u64) -> Result<Reply, Errno> {
    match whence.cast_signed() {
        libc::SEEK_DATA | libc::SEEK_HOLE if offset >= size => Err(Errno(libc::ENXIO)),
        libc::SEEK_DATA => Ok(Reply::Count(offset)),
        libc::SEEK_HOLE => Ok(Reply::Count(size)),
        _ => Err(Errno::EINVAL),
    }
}
