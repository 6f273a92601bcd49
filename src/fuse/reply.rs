//! Writing replies: data where it goes, the header last.

use fuse_backend_rs::abi::fuse_abi as abi;
use vm17::ByteValued;

use super::REPLY_HEADER_LEN;
use super::stats::Timer;
use crate::destination::Destination;
use crate::fs::{Errno, PendingRead, Pieces};

/// Largest errno that the kernel takes in a reply.
const MAX_ERRNO: i32 = 511;

/// A read that has to wait.
pub struct Pending {
    /// How the reply is written once `read` is done.
    pub reply: ReplyTo,
    /// The bytes to come. Must be polled inside the runtime of
    /// [`crate::runtime`].
    pub read: PendingRead,
}

/// The request that a delayed reply belongs to.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    unique: u64,
    size: usize,
    timer: Timer,
    is_read: bool,
}

impl ReplyTo {
    pub(super) fn new(unique: u64, size: usize, timer: Timer, is_read: bool) -> Self {
        Self {
            unique,
            size,
            timer,
            is_read,
        }
    }

    /// Whether the request is a READ, which may be called off. Others go on whatever
    /// they are answered: a write that is under way is.
    pub fn is_read(&self) -> bool {
        self.is_read
    }

    /// Most bytes of data that the reply will hold.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes data and header into `out`, the same room that the request came
    /// with. Returns the length of the reply; 0 when not even a header fits.
    pub fn finish(self, result: Result<Pieces, Errno>, out: &mut Destination<'_>) -> usize {
        let mut head = out.split_front(REPLY_HEADER_LEN);
        let answer = result.map(|pieces| {
            out.truncate(self.size);
            let mut at = 0;
            for piece in &pieces {
                at += out.copy_in(at, piece);
            }
            at
        });
        self.timer.stats.note(self.timer.begun, answer.ok());
        write_header(&mut head, self.unique, answer)
    }
}

/// Where the data of a reply went.
pub(super) enum Answer {
    /// So many bytes stand behind the header.
    Data(usize),
    /// There is no reply to such a request.
    Silence,
    /// The data comes later.
    Later(usize, PendingRead),
}

impl Answer {
    /// Bytes of data that are there.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Data(len) => *len,
            Self::Silence | Self::Later(..) => 0,
        }
    }
}

/// Refuses a request whose reply would not fit before it has any effect.
pub(super) fn needs_room<T>(out: &Destination<'_>) -> Result<(), Errno> {
    if out.len() < size_of::<T>() {
        return Err(Errno::EIO);
    }
    Ok(())
}

/// Makes `value` the data of the reply.
pub(super) fn put<T: ByteValued>(out: &mut Destination<'_>, value: &T) -> Result<Answer, Errno> {
    put_bytes(out, value.as_slice())
}

/// Makes `bytes` the data of the reply, unless they do not fit.
pub(super) fn put_bytes(out: &mut Destination<'_>, bytes: &[u8]) -> Result<Answer, Errno> {
    if out.len() < bytes.len() {
        return Err(Errno::ERANGE);
    }
    Ok(Answer::Data(out.copy_in(0, bytes)))
}

/// Writes the header of a reply with so many bytes of data, or of an error.
/// Returns the length of the whole reply, 0 when the header does not fit.
pub(super) fn write_header(
    head: &mut Destination<'_>,
    unique: u64,
    answer: Result<usize, Errno>,
) -> usize {
    let (data, error) = match answer {
        Ok(data) => (data, 0),
        Err(Errno(errno @ 1..=MAX_ERRNO)) => (0, -errno),
        Err(_) => (0, -libc::EIO),
    };
    let total = REPLY_HEADER_LEN + data;
    let (Ok(len), true) = (u32::try_from(total), head.len() >= REPLY_HEADER_LEN) else {
        return 0;
    };
    let header = abi::OutHeader { len, error, unique };
    head.copy_in(0, header.as_slice());
    total
}
