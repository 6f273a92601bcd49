//! A FUSE client over the [frontend](super::frontend): what a guest's kernel
//! asks, one call each, and requests in flight by [`Session::submit`] and
//! [`Session::complete`].

mod calls;
pub mod wire;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::frontend::queue::OUT_HEADER;
use super::frontend::{Config, Frontend};
use wire::{Body, Fields, flag, message, op};

/// Why a request has no answer to use.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The daemon answered with an errno.
    #[error("The daemon answered errno {0}")]
    Errno(i32),
    /// The buffer came back with nothing, or less than a header, in it.
    #[error("The buffer came back with {0} bytes, which is no reply")]
    NoReply(u32),
    /// The answer breaks the protocol.
    #[error("The reply is malformed: {0}")]
    Malformed(String),
    /// The ring or the socket failed, or time was up.
    #[error("The daemon cannot be reached")]
    Lost(#[from] io::Error),
}

impl Failure {
    /// The errno, if that is what it is.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Errno(errno) => Some(*errno),
            _ => None,
        }
    }
}

/// Outcome of a request.
pub type Answer<T> = Result<T, Failure>;

/// A request in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Queue it went to.
    pub queue: usize,
    /// Slot on that queue.
    pub slot: usize,
}

/// A reply that still lies in guest memory. Hand it back with
/// [`Session::finish`] or [`Session::body`].
#[derive(Debug)]
pub struct Reply {
    /// Which request this answers.
    pub ticket: Ticket,
    /// Bytes of the body, or why there is none.
    pub outcome: Answer<usize>,
}

/// What INIT agreed on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Agreed {
    pub major: u32,
    pub minor: u32,
    pub max_readahead: u32,
    /// Both halves of the flags.
    pub flags: u64,
    pub max_write: u32,
    /// Largest READ in bytes.
    pub max_read: usize,
    pub map_alignment: u16,
}

/// A mounted guest.
pub struct Session {
    /// Rings and memory beneath.
    pub frontend: Frontend,
    /// What INIT agreed on.
    pub agreed: Agreed,
    /// Queue of the calls that do not name one.
    pub queue: usize,
    /// OPEN was answered ENOSYS: files need none on this connection.
    pub no_open: bool,
    /// The same for OPENDIR.
    pub no_opendir: bool,
    /// Take a reply's length from its header where the ring says 0, as nydusd's
    /// ring does. For benchmarks; tests hold the ring to its word.
    pub believe_headers: bool,
    reply_max: usize,
    unique: u64,
    waiting: HashMap<Ticket, u64>,
}

impl Session {
    /// Connects and sends INIT.
    ///
    /// # Errors
    /// When the connection or INIT fails.
    pub fn mount(socket: &Path, config: &Config) -> Answer<Self> {
        let mut session = Self::connect(socket, config)?;
        session.believe_headers = config.believe_headers;
        session.init()?;
        Ok(session)
    }

    /// Connects without sending INIT.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn connect(socket: &Path, config: &Config) -> Answer<Self> {
        Ok(Self {
            frontend: Frontend::connect(socket, config)?,
            agreed: Agreed::default(),
            queue: 1,
            no_open: false,
            no_opendir: false,
            believe_headers: false,
            reply_max: config.reply_max,
            unique: 0,
            waiting: HashMap::new(),
        })
    }

    /// Goes on with the daemon that took the place of the one before, which the guest
    /// does not notice: there is no INIT, and requests in flight still are.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn reconnect(&mut self) -> Answer<()> {
        Ok(self.frontend.reconnect()?)
    }

    /// Sends INIT as a Linux guest with minor 38 does.
    ///
    /// # Errors
    /// Those of the daemon.
    pub fn init(&mut self) -> Answer<Agreed> {
        let low = u32::try_from(flag::OFFERED & 0xffff_ffff).unwrap_or(0);
        let mut body = Body::default().u32(7).u32(38).u32(1 << 20).u32(low).0;
        body.resize(64, 0);
        let raw = self.raw(op::INIT, 0, &body, 64)?;
        if raw.len() < 24 {
            return Err(Failure::Malformed(format!(
                "INIT was answered with {} bytes",
                raw.len()
            )));
        }
        let mut fields = Fields(&raw);
        let (major, minor, max_readahead) = (fields.u32(), fields.u32(), fields.u32());
        let flags = fields.u32();
        let (_background, _congestion) = (fields.u16(), fields.u16());
        let (max_write, _granularity) = (fields.u32(), fields.u32());
        let (max_pages, map_alignment) = (fields.u16(), fields.u16());
        let flags = u64::from(flags) | u64::from(fields.u32()) << 32;
        let pages = if flags & flag::MAX_PAGES != 0 {
            max_pages.max(1)
        } else {
            32
        };
        let max_read = (usize::from(pages) * 4096).min(self.reply_max);
        self.agreed = Agreed {
            major,
            minor,
            max_readahead,
            flags,
            max_write,
            max_read,
            map_alignment,
        };
        Ok(self.agreed)
    }

    /// Sends any request and waits; `room` is what a reply's body may take.
    /// Do not mix with requests in flight on the same queue.
    ///
    /// # Errors
    /// Those of the daemon.
    pub fn raw(&mut self, opcode: u32, node: u64, body: &[u8], room: usize) -> Answer<Vec<u8>> {
        let queue = self.queue;
        let ticket = self.submit(queue, opcode, node, body, Some(room))?;
        self.flush(queue)?;
        let reply = self.complete(queue)?;
        if reply.ticket != ticket {
            return Err(Failure::Malformed("another request was answered".into()));
        }
        self.body(reply)
    }

    /// Sends a request that has no reply (FORGET and its kin) and waits until
    /// the daemon has returned the buffer.
    ///
    /// # Errors
    /// When the buffer does not come back.
    pub fn send(&mut self, opcode: u32, node: u64, body: &[u8]) -> Answer<()> {
        let queue = self.queue;
        self.submit(queue, opcode, node, body, None)?;
        self.flush(queue)?;
        let done = self.complete(queue)?;
        self.finish(done).map(drop)
    }

    /// Puts a request on `queue` without waking the daemon.
    ///
    /// # Errors
    /// When all slots of the queue are taken.
    pub fn submit(
        &mut self,
        queue: usize,
        opcode: u32,
        node: u64,
        body: &[u8],
        room: Option<usize>,
    ) -> Answer<Ticket> {
        self.unique += 2;
        let message = message(opcode, self.unique, node, body);
        let slot = self.frontend.queues[queue].submit(&message, room)?;
        let ticket = Ticket { queue, slot };
        self.waiting
            .insert(ticket, if room.is_some() { self.unique } else { 0 });
        Ok(ticket)
    }

    /// Wakes the daemon for what was submitted to `queue`.
    ///
    /// # Errors
    /// When the eventfd cannot be written.
    pub fn flush(&mut self, queue: usize) -> Answer<()> {
        Ok(self.frontend.queues[queue].notify()?)
    }

    /// Waits for the next completion on `queue`.
    ///
    /// # Errors
    /// `Lost` when none comes in time; an errno is in the reply's outcome.
    pub fn complete(&mut self, queue: usize) -> Answer<Reply> {
        let done = self.frontend.queues[queue].complete()?;
        self.judge(queue, done)
    }

    /// Takes a completion of `queue` if there is one.
    ///
    /// # Errors
    /// `Lost` when the ring is broken.
    pub fn try_complete(&mut self, queue: usize) -> Answer<Option<Reply>> {
        let done = self.frontend.queues[queue].try_complete()?;
        done.map(|done| self.judge(queue, done)).transpose()
    }

    fn judge(&mut self, queue: usize, mut done: super::frontend::Done) -> Answer<Reply> {
        let ticket = Ticket {
            queue,
            slot: done.slot,
        };
        let expected = self.waiting.remove(&ticket).unwrap_or(0);
        let header = self.frontend.queues[queue].reply_header(done.slot)?;
        let mut fields = Fields(&header);
        let (length, error, unique) = (fields.u32(), fields.i32(), fields.u64());
        if self.believe_headers && done.length == 0 && unique == expected {
            done.length = length;
        }
        let written = usize::try_from(done.length).unwrap_or(usize::MAX);
        let outcome = if expected == 0 {
            Ok(0)
        } else if written < OUT_HEADER {
            Err(Failure::NoReply(done.length))
        } else if unique != expected {
            Err(Failure::Malformed(format!(
                "it answers {unique}, asked was {expected}"
            )))
        } else if length != done.length {
            let text = format!("the header says {length} bytes, the ring {}", done.length);
            Err(Failure::Malformed(text))
        } else if error != 0 {
            Err(Failure::Errno(-error))
        } else {
            Ok(written - OUT_HEADER)
        };
        Ok(Reply { ticket, outcome })
    }

    /// Copies the body of a reply and frees its slot.
    ///
    /// # Errors
    /// The reply's own.
    pub fn body(&mut self, reply: Reply) -> Answer<Vec<u8>> {
        let queue = &mut self.frontend.queues[reply.ticket.queue];
        let copied = reply.outcome.and_then(|length| {
            let mut body = vec![0; length];
            queue.reply_body(reply.ticket.slot, &mut body)?;
            Ok(body)
        });
        queue.release(reply.ticket.slot);
        copied
    }

    /// Frees the slot of a reply without copying its body.
    pub fn finish(&mut self, reply: Reply) -> Answer<usize> {
        self.frontend.queues[reply.ticket.queue].release(reply.ticket.slot);
        reply.outcome
    }
}
