//! Dispatch: one request in, one reply out.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fuse_backend_rs::abi::fuse_abi as abi;

use super::REPLY_HEADER_LEN;
use super::change::{self, Idle};
use super::encode::{attr_out, dirent, entry_out, open_out, statfs_out};
use super::extension::{self, CREATE_SUPP_GROUP};
use super::init::{MAX_READ, SETXATTR_EXT, negotiate};
use super::opcode as op;
use super::reply::{Answer, Pending, ReplyTo, needs_room, put, put_bytes, write_header};
use super::request::{Request, entry_name, xattr_name};
use super::stats::{Begun, Stats, Timer, begin};
use super::wire::decode;
use crate::destination::Destination;
use crate::fs::operation::Caller;
use crate::fs::{Errno, FileSystem, Read};
use crate::payload::Payload;

/// Longest reply to READDIR and READDIRPLUS, in bytes.
const MAX_READDIR: usize = 256 << 10;

thread_local! {
    /// Where replies are encoded before they are copied out at once.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What became of a request.
pub enum Outcome {
    /// The reply is written: so many bytes, header included.
    Done(usize),
    /// Nothing was written and nobody waits for it.
    NoReply,
    /// A request that has to wait; nothing of use is written yet.
    Pending(Pending),
}

/// Serves one FUSE session at a time over any transport.
///
/// A request that comes before INIT is served as the file system says that the last
/// session agreed, or like one after an INIT that offered nothing: a guest whose
/// session is older than this process goes on.
pub struct Server {
    fs: Arc<dyn FileSystem>,
    /// Bits of [`abi::FsOptions`] that the last INIT agreed on.
    options: AtomicU64,
    stats: Arc<Stats>,
}

impl Server {
    /// A server that asks `fs`.
    pub fn new(fs: Arc<dyn FileSystem>) -> Self {
        Self::counting(fs, Arc::default())
    }

    /// A server that asks `fs` and counts what it does in `stats`.
    pub fn counting(fs: Arc<dyn FileSystem>, stats: Arc<Stats>) -> Self {
        Self {
            options: AtomicU64::new(fs.agreement()),
            fs,
            stats,
        }
    }

    /// Goes on with the session that the file system says there was last: it was given
    /// another one's.
    pub fn resume(&self) {
        self.options.store(self.fs.agreement(), Ordering::Relaxed);
    }

    /// Carries out one request, whose bytes must be private to the caller, and
    /// writes the reply to `out`, which is used up.
    ///
    /// At most [`REQUEST_LIMIT`](super::REQUEST_LIMIT) bytes of a request need
    /// to be given, but for a WRITE.
    pub fn handle(&self, request: &[u8], out: &mut Destination<'_>) -> Outcome {
        self.handle_with(request, Payload::default(), out)
    }

    /// As [`Server::handle`], for a WRITE of which only the first bytes, at least
    /// [`WRITE_HEAD_LEN`](super::WRITE_HEAD_LEN), were copied; `payload` is the
    /// rest, which may change all the time.
    pub fn handle_with(
        &self,
        request: &[u8],
        payload: Payload<'_>,
        out: &mut Destination<'_>,
    ) -> Outcome {
        match Request::parse(request, payload.len()) {
            Some(request) => self.carry_out(&request, payload, out),
            None => Outcome::NoReply,
        }
    }

    /// As [`Server::handle_with`], for a request that an earlier process took and did
    /// not answer, so that nobody knows whether it was carried out. A FORGET is
    /// not carried out again: a reference too many costs less than one too few.
    pub fn handle_again(
        &self,
        request: &[u8],
        payload: Payload<'_>,
        out: &mut Destination<'_>,
    ) -> Outcome {
        match Request::parse(request, payload.len()) {
            Some(mut request) if request.has_reply() => {
                request.again = true;
                self.carry_out(&request, payload, out)
            }
            _ => Outcome::NoReply,
        }
    }

    fn carry_out(
        &self,
        request: &Request<'_>,
        payload: Payload<'_>,
        out: &mut Destination<'_>,
    ) -> Outcome {
        let mut head = out.split_front(REPLY_HEADER_LEN);
        if head.len() < REPLY_HEADER_LEN && request.has_reply() {
            return Outcome::NoReply;
        }
        let unique = request.header.unique;
        let begun = begin(request.header.opcode);
        let node = request.header.nodeid;
        let work = AssertUnwindSafe(|| self.dispatch(request, payload, out));
        let answer = catch_unwind(work).unwrap_or_else(|_| {
            log::error!(
                "Request {} on node {} made the file system panic, answered with EIO; report this as a bug",
                request.header.opcode,
                request.header.nodeid
            );
            Err(Errno::EIO)
        });
        if !matches!(answer, Ok(Answer::Later(..))) {
            let len = answer.as_ref().ok().map(Answer::len);
            self.note(node, begun, len);
        }
        match answer {
            _ if !request.has_reply() => Outcome::NoReply,
            Ok(Answer::Silence) => Outcome::NoReply,
            Ok(Answer::Data(len)) => Outcome::Done(write_header(&mut head, unique, Ok(len))),
            Err(errno) => Outcome::Done(write_header(&mut head, unique, Err(errno))),
            Ok(Answer::Later(size, read)) => Outcome::Pending(Pending {
                reply: ReplyTo::new(
                    unique,
                    size,
                    Timer {
                        stats: self.figures(node),
                        begun,
                    },
                    request.header.opcode == op::READ,
                ),
                read,
            }),
        }
    }

    /// Answers a request with `errno` without carrying it out, for a transport
    /// that cannot take it (memory that is not there, a broken chain). A
    /// FORGET is carried out all the same, since nothing else can be said.
    pub fn refuse(&self, request: &[u8], errno: Errno, out: &mut Destination<'_>) -> Outcome {
        match Request::parse(request, 0) {
            None => Outcome::NoReply,
            Some(request) if !request.has_reply() => {
                let _ = self.dispatch(&request, Payload::default(), out);
                Outcome::NoReply
            }
            Some(request) => {
                let mut head = out.split_front(REPLY_HEADER_LEN);
                match write_header(&mut head, request.header.unique, Err(errno)) {
                    0 => Outcome::NoReply,
                    len => Outcome::Done(len),
                }
            }
        }
    }

    /// Counts a request in the figures of what it was about.
    fn note(&self, node: u64, begun: Begun, answer: Option<usize>) {
        let mut counted = |stats: &Arc<Stats>| stats.note(begun, answer);
        if !self.fs.count(node, &mut counted) {
            self.stats.note(begun, answer);
        }
    }

    /// Where a request that waits will be counted.
    fn figures(&self, node: u64) -> Arc<Stats> {
        let mut found = None;
        self.fs
            .count(node, &mut |stats| found = Some(Arc::clone(stats)));
        found.unwrap_or_else(|| Arc::clone(&self.stats))
    }

    /// Hands a request to the file system that the server has no method for.
    fn perform(
        &self,
        request: &Request<'_>,
        payload: Payload<'_>,
        out: &mut Destination<'_>,
    ) -> Result<Answer, Errno> {
        let header = &request.header;
        let options = self.options.load(Ordering::Relaxed);
        let operation = change::decode(request, payload, options & SETXATTR_EXT != 0)?;
        change::needs_room_for(header.opcode, out)?;
        let group = match options & CREATE_SUPP_GROUP {
            0 => None,
            _ => extension::group(header, request.body()?)?,
        };
        let caller = Caller {
            uid: header.uid,
            gid: header.gid,
            again: request.again,
            group,
        };
        let idle = Idle::of(&operation);
        let reply = match self.fs.perform(caller, header.nodeid, operation) {
            Err(Errno::ENOSYS) => idle.answer(header.opcode, || {
                let (attr, _) = self.fs.getattr(header.nodeid)?;
                Ok(attr.size)
            }),
            other => other,
        };
        change::put_reply(header.opcode, reply?, out)
    }

    fn agreed(&self, option: abi::FsOptions) -> bool {
        self.options.load(Ordering::Relaxed) & option.bits() != 0
    }

    fn dispatch(
        &self,
        request: &Request<'_>,
        payload: Payload<'_>,
        out: &mut Destination<'_>,
    ) -> Result<Answer, Errno> {
        let body = request.body()?;
        let node = request.header.nodeid;
        match request.header.opcode {
            op::READ => self.read(node, body, out),
            op::LOOKUP => {
                let name = entry_name(body)?;
                needs_room::<abi::EntryOut>(out)?;
                put(out, &entry_out(&self.fs.lookup(node, name)?))
            }
            op::GETATTR => {
                let (attr, timeout) = self.fs.getattr(node)?;
                put(out, &attr_out(&attr, timeout))
            }
            op::READDIR => self.readdir(node, body, out),
            op::READDIRPLUS => self.readdirplus(node, body, out),
            op::READLINK => put_bytes(out, &self.fs.readlink(node)?),
            op::FORGET => {
                let forget: abi::ForgetIn = decode(body).ok_or(Errno::EINVAL)?;
                self.fs.forget(node, forget.nlookup);
                Ok(Answer::Silence)
            }
            op::BATCH_FORGET => self.batch_forget(body),
            op::GETXATTR => {
                let name = body.get(size_of::<abi::GetxattrIn>()..).unwrap_or_default();
                let name = xattr_name(name)?;
                put_xattr(body, out, || self.fs.getxattr(node, name))
            }
            op::LISTXATTR => put_xattr(body, out, || self.fs.listxattr(node)),
            op::STATFS => put(out, &statfs_out(self.fs.statfs(node)?)),
            op::DESTROY => Ok(Answer::Data(0)),
            op::INIT => self.init(body, out),
            op::INTERRUPT => Ok(Answer::Silence),
            _ if self.fs.wants().opens => self.perform(request, payload, out),
            op::OPEN => self.open(body, out),
            op::OPENDIR => self.opendir(body, out),
            op::RELEASE | op::RELEASEDIR => Ok(Answer::Data(0)),
            other => Err(op::refusal(other)),
        }
    }

    fn init(&self, body: &[u8], out: &mut Destination<'_>) -> Result<Answer, Errno> {
        let negotiated = negotiate(body, self.fs.wants())?;
        needs_room::<abi::InitOut>(out)?;
        if let Some(options) = negotiated.options {
            self.options.store(options, Ordering::Relaxed);
            self.fs.init();
            self.fs.agreed(options);
        }
        put(out, &negotiated.reply)
    }

    fn open(&self, body: &[u8], out: &mut Destination<'_>) -> Result<Answer, Errno> {
        let open: abi::OpenIn = decode(body).ok_or(Errno::EINVAL)?;
        if open.flags & libc::O_ACCMODE.cast_unsigned() != 0 {
            return Err(Errno::EROFS);
        }
        if self.agreed(abi::FsOptions::ZERO_MESSAGE_OPEN) {
            return Err(Errno::ENOSYS);
        }
        put(out, &open_out(&change::OPENED))
    }

    fn opendir(&self, body: &[u8], out: &mut Destination<'_>) -> Result<Answer, Errno> {
        let _: abi::OpenIn = decode(body).ok_or(Errno::EINVAL)?;
        if self.agreed(abi::FsOptions::ZERO_MESSAGE_OPENDIR) {
            return Err(Errno::ENOSYS);
        }
        put(out, &open_out(&change::OPENED_DIR))
    }

    fn read(&self, node: u64, body: &[u8], out: &mut Destination<'_>) -> Result<Answer, Errno> {
        let read: abi::ReadIn = decode(body).ok_or(Errno::EINVAL)?;
        let size = usize::try_from(read.size.min(MAX_READ)).map_err(|_| Errno::EINVAL)?;
        out.truncate(size);
        let size = out.len();
        match self.fs.read(node, read.fh, read.offset, out) {
            Read::Ready(Ok(len)) => Ok(Answer::Data(len.min(size))),
            Read::Ready(Err(errno)) => Err(errno),
            Read::Pending(read) => Ok(Answer::Later(size, read)),
        }
    }

    fn readdir(&self, node: u64, body: &[u8], out: &mut Destination<'_>) -> Result<Answer, Errno> {
        let (handle, offset, limit) = readdir_range(body, out)?;
        with_scratch(|reply| {
            self.fs.readdir(node, handle, offset, &mut |entry| {
                dirent(reply, limit, &entry, None)
            })?;
            put_bytes(out, reply)
        })
    }

    fn readdirplus(
        &self,
        node: u64,
        body: &[u8],
        out: &mut Destination<'_>,
    ) -> Result<Answer, Errno> {
        let (handle, offset, limit) = readdir_range(body, out)?;
        with_scratch(|reply| {
            self.fs
                .readdirplus(node, handle, offset, &mut |entry, node| {
                    dirent(reply, limit, &entry, Some(node))
                })?;
            put_bytes(out, reply)
        })
    }

    fn batch_forget(&self, body: &[u8]) -> Result<Answer, Errno> {
        let batch: abi::BatchForgetIn = decode(body).ok_or(Errno::EINVAL)?;
        let items = body
            .get(size_of::<abi::BatchForgetIn>()..)
            .unwrap_or_default();
        let items = items.chunks_exact(size_of::<abi::ForgetOne>());
        // A count that does not fit what is there makes the whole batch void.
        if usize::try_from(batch.count) != Ok(items.len()) {
            return Err(Errno::EINVAL);
        }
        for item in items.filter_map(decode::<abi::ForgetOne>) {
            self.fs.forget(item.nodeid, item.nlookup);
        }
        Ok(Answer::Silence)
    }
}

/// Handle, offset and longest reply of READDIR and READDIRPLUS.
fn readdir_range(body: &[u8], out: &Destination<'_>) -> Result<(u64, u64, usize), Errno> {
    let read: abi::ReadIn = decode(body).ok_or(Errno::EINVAL)?;
    let size = usize::try_from(read.size).map_err(|_| Errno::EINVAL)?;
    let limit = size.min(out.len()).min(MAX_READDIR);
    Ok((read.fh, read.offset, limit))
}

/// Answers GETXATTR or LISTXATTR: the value, or its size when 0 bytes are
/// asked for.
fn put_xattr(
    body: &[u8],
    out: &mut Destination<'_>,
    value: impl FnOnce() -> Result<Vec<u8>, Errno>,
) -> Result<Answer, Errno> {
    let ask: abi::GetxattrIn = decode(body).ok_or(Errno::EINVAL)?;
    let value = value()?;
    let len = u32::try_from(value.len()).map_err(|_| Errno(libc::E2BIG))?;
    if ask.size == 0 {
        let size = abi::GetxattrOut {
            size: len,
            padding: 0,
        };
        return put(out, &size);
    }
    if len > ask.size {
        return Err(Errno::ERANGE);
    }
    put_bytes(out, &value)
}

/// Lends the thread's scratch buffer, empty.
fn with_scratch<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    // Taken out while it is lent: a file system that panics in between costs
    // the buffer and nothing else.
    let mut buffer = SCRATCH.take();
    buffer.clear();
    let result = work(&mut buffer);
    SCRATCH.set(buffer);
    result
}
