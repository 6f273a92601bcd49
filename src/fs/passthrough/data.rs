//! Bytes of files.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{FallocateFlags, SeekFrom};

use super::handles::Handle;
use super::host::Stat;
use super::ids::without_keeping_ids;
use super::{PassthroughFs, host};
use crate::destination::Destination;
use crate::fs::operation::{Caller, OpenFile, Reply};
use crate::fs::{Errno, Read};
use crate::payload::Payload;

/// Most bytes that one COPY_FILE_RANGE moves; the guest asks for the rest.
const COPY_MAX: u64 = 1 << 30;

/// Whether a call that must not wait would have to, or cannot be made so.
fn would_wait(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::EOPNOTSUPP | libc::EINVAL)
    )
}

impl PassthroughFs {
    /// Reads what the page cache holds at once, else later.
    pub(super) fn read_file(
        &self,
        file: OpenFile,
        offset: u64,
        dest: &mut Destination<'_>,
    ) -> Read {
        let handle = match self.file(file.node, file.handle, libc::O_RDONLY) {
            Ok(handle) => handle,
            Err(errno) => return Read::Ready(Err(errno)),
        };
        let len = dest.len();
        let mut done = 0;
        while done < len {
            let at = offset.saturating_add(done as u64);
            match dest.read_from(done, len - done, handle.fd(), at, true) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if would_wait(&error) => {
                    let read = move || read_whole(&handle, offset, len);
                    return Read::Pending(self.slow.read(read));
                }
                Err(error) => return Read::Ready(Err(error.into())),
            }
        }
        Read::Ready(Ok(done))
    }

    /// Writes at once what the page cache takes, the rest later.
    pub(super) fn write_file(
        &self,
        caller: Caller,
        file: OpenFile,
        offset: u64,
        data: &Payload<'_>,
        kill: bool,
    ) -> Result<Reply, Errno> {
        let handle = self.file(file.node, file.handle, libc::O_WRONLY)?;
        if caller.again && handle.appends {
            let _plain = plain_if(kill, &handle)?;
            return self.append_again(file.node, &handle, offset, data);
        }
        let mut done = 0;
        let mut later = handle.synchronous;
        if !later {
            let _plain = plain_if(kill, &handle)?;
            while done < data.len() {
                let at = offset.saturating_add(done as u64);
                match data.write_to(done, handle.fd(), at, true) {
                    Ok(0) => break,
                    Ok(written) => done += written,
                    // Most file systems cannot promise not to wait.
                    Err(error)
                        if error.raw_os_error() == Some(libc::EOPNOTSUPP)
                            && !self.pace.is_slow(Instant::now()) =>
                    {
                        let began = Instant::now();
                        let written = finish(data, &handle, offset, done);
                        self.pace.note(began, Instant::now());
                        return written;
                    }
                    Err(error) if would_wait(&error) => {
                        later = true;
                        break;
                    }
                    Err(_) if done > 0 => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if !later {
            return Ok(Reply::Count(done as u64));
        }
        let moved = Arc::clone(&handle);
        let pace = (!handle.synchronous).then(|| Arc::clone(&self.pace));
        let reply = self.slow.change_holding(data.len() - done, || {
            let rest = data.copy_from(done);
            move || {
                let _plain = plain_if(kill, &moved)?;
                let rest = Payload::from_slice(&rest);
                let at = offset.saturating_add(done as u64);
                let began = Instant::now();
                let written = write_all(&rest, 0, &moved, at);
                if let Some(pace) = pace {
                    pace.note(began, Instant::now());
                }
                match written {
                    Err(_) if done > 0 => Ok(done as u64),
                    other => other.map(|written| written + done as u64),
                }
            }
        });
        match reply {
            Some(reply) => Ok(reply),
            None => {
                let _plain = plain_if(kill, &handle)?;
                finish(data, &handle, offset, done)
            }
        }
    }

    /// FSYNC, on a file or a directory.
    pub(super) fn sync(&self, handle: Arc<Handle>, data_only: bool) -> Reply {
        self.slow.change(move || {
            if data_only {
                rustix::fs::fdatasync(handle.fd())?;
            } else {
                rustix::fs::fsync(handle.fd())?;
            }
            Ok(0)
        })
    }

    /// SYNCFS: all file systems of the host that the guest holds something of.
    pub(super) fn sync_all(&self) -> Reply {
        let inodes = self.inodes.of_each_device();
        self.slow.change(move || {
            for inode in inodes {
                let fd = host::reopen(inode.fd(), libc::O_RDONLY | libc::O_NONBLOCK)?;
                rustix::fs::syncfs(&fd)?;
            }
            Ok(0)
        })
    }

    /// FLUSH: what closing a descriptor would report.
    pub(super) fn flush(&self, node: u64, handle: u64) -> Result<Reply, Errno> {
        if handle == 0 {
            return Ok(Reply::Done);
        }
        let file = self.file(node, handle, libc::O_RDONLY)?;
        let twin = file.fd().try_clone_to_owned()?;
        nix::unistd::close(twin).map_err(|errno| Errno(errno as i32))?;
        Ok(Reply::Done)
    }

    /// FALLOCATE. Kernels do not say, as they do with WRITE, whether set-user-id bits
    /// go; `kill` says that they do unless root asks.
    pub(super) fn allocate(
        &self,
        file: OpenFile,
        mode: u32,
        offset: u64,
        len: u64,
        kill: bool,
    ) -> Result<Reply, Errno> {
        let handle = self.file(file.node, file.handle, libc::O_WRONLY)?;
        let mode = FallocateFlags::from_bits_retain(mode);
        Ok(self.slow.change(move || {
            let _plain = plain_if(kill, &handle)?;
            rustix::fs::fallocate(handle.fd(), mode, offset, len)?;
            Ok(0)
        }))
    }

    /// LSEEK, which guests send to find data and holes.
    pub(super) fn seek(&self, file: OpenFile, offset: u64, whence: u32) -> Result<Reply, Errno> {
        let to = match whence.cast_signed() {
            libc::SEEK_DATA => SeekFrom::Data(offset),
            libc::SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::EINVAL),
        };
        let handle = self.file(file.node, file.handle, libc::O_RDONLY)?;
        let _position = handle.position.lock();
        Ok(Reply::Count(rustix::fs::seek(handle.fd(), to)?))
    }

    /// COPY_FILE_RANGE, which may share blocks; `kill` as in FALLOCATE.
    pub(super) fn copy(
        &self,
        from: OpenFile,
        offset: u64,
        to: OpenFile,
        to_offset: u64,
        len: u64,
        kill: bool,
    ) -> Result<Reply, Errno> {
        let source = self.file(from.node, from.handle, libc::O_RDONLY)?;
        let sink = self.file(to.node, to.handle, libc::O_WRONLY)?;
        let len = usize::try_from(len.min(COPY_MAX)).map_err(|_| Errno::EINVAL)?;
        Ok(self.slow.change(move || {
            let _plain = plain_if(kill, &sink)?;
            let (mut from, mut to) = (offset, to_offset);
            let copied = rustix::fs::copy_file_range(
                source.fd(),
                Some(&mut from),
                sink.fd(),
                Some(&mut to),
                len,
            )?;
            Ok(copied as u64)
        }))
    }
}

/// Takes a privilege off the thread if there are bits that must go.
fn plain_if(kill: bool, handle: &Handle) -> Result<Option<super::ids::Plain>, Errno> {
    if !kill {
        return Ok(None);
    }
    let mode = Stat::of(handle.fd())?.attr.mode;
    if mode & (libc::S_ISUID | libc::S_ISGID) == 0 {
        return Ok(None);
    }
    without_keeping_ids().map(Some)
}

/// Writes the rest of `data`, of which `done` bytes are written, waiting if need
/// be.
fn finish(data: &Payload<'_>, handle: &Handle, offset: u64, done: usize) -> Result<Reply, Errno> {
    let at = offset.saturating_add(done as u64);
    match write_all(data, done, handle, at) {
        Err(_) if done > 0 => Ok(Reply::Count(done as u64)),
        other => Ok(Reply::Count(done as u64 + other?)),
    }
}

/// Writes the bytes from `from` on at `offset`. Returns how many were written,
/// which is fewer than there are if a later one fails.
fn write_all(data: &Payload<'_>, from: usize, handle: &Handle, offset: u64) -> Result<u64, Errno> {
    let mut done = 0;
    while from + done < data.len() {
        let at = offset.saturating_add(done as u64);
        match data.write_to(from + done, handle.fd(), at, false) {
            Ok(0) => break,
            Ok(written) => done += written,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done as u64)
}

/// Reads `len` bytes, or to the end of the file, waiting if need be.
fn read_whole(handle: &Handle, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        let at = offset.saturating_add(done as u64);
        let mut dest = Destination::from_slice(&mut bytes);
        match dest.read_from(done, len - done, handle.fd().as_fd(), at, false)? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}
