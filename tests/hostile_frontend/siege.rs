//! Runs one hostile case after the other and asks for something ordinary after
//! each.

use std::io;
use std::time::Duration;

use crate::support::frontend::Config;
use crate::support::frontend::ring::{Descriptor, NEXT, Used, WRITE};
use crate::support::image;
use crate::support::session::wire::{Body, ROOT, message, op};
use crate::support::session::{Answer, Failure, Session};
use crate::support::target::Target;

/// First descriptor that hostile chains use; the slots' own are below.
pub(crate) const FREE: u16 = 200;

/// Bytes of the request in a [`Scratch`].
pub(crate) const LEN: u32 = 56;

/// What must still work after a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The same queue.
    SameQueue,
    /// A new connection: the case leaves no ring to go on with.
    NewConnection,
}

/// A daemon under attack.
pub(crate) struct Siege {
    target: Target,
    session: Option<Session>,
    config: Config,
    lost: Vec<String>,
}

impl Siege {
    /// Serves a small image.
    pub(crate) fn begin() -> Self {
        Self::with(Config {
            timeout: Duration::from_secs(5),
            ..Config::default()
        })
    }

    /// Serves a small image to a guest of this shape.
    pub(crate) fn with(mut config: Config) -> Self {
        let target = Target::new(image::fill_small, &[]);
        if target.is_lenient() {
            // Many cases are known to get no answer.
            config.timeout = Duration::from_millis(300);
        }
        Self {
            target,
            session: None,
            config,
            lost: Vec::new(),
        }
    }

    /// Whether Tidegate is under attack, which keeps stricter promises than
    /// the daemons that it is compared with.
    pub(crate) fn is_strict(&self) -> bool {
        !self.target.is_foreign()
    }

    /// Runs one case, then something ordinary.
    ///
    /// # Panics
    /// When the case fails, or the daemon does not survive it.
    pub(crate) fn case(
        &mut self,
        name: &str,
        then: Then,
        attack: impl FnOnce(&mut Session) -> Answer<()>,
    ) {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.target.mount(&self.config),
        };
        let mut outcome = attack(&mut session);
        if outcome.is_ok() && then == Then::SameQueue {
            outcome = ordinary(&mut session);
        }
        if outcome.is_ok() && then == Then::NewConnection {
            drop(session);
            session = self.target.mount(&self.config);
            outcome = ordinary(&mut session);
        }
        match outcome {
            Ok(()) => self.session = Some(session),
            Err(failure) if self.target.is_lenient() => {
                eprintln!("not survived: {name}: {failure:?}");
                self.lost.push(name.to_owned());
            }
            Err(failure) => {
                let daemon = self.target.daemon();
                panic!(
                    "{name}: {failure:?}; the daemon said: {}",
                    daemon.complaints()
                );
            }
        }
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        if !self.lost.is_empty() {
            eprintln!("{} cases not survived", self.lost.len());
        }
    }
}

/// GETATTR of the root, and a READ whose bytes are known.
///
/// # Errors
/// When either is not answered as it should be.
pub(crate) fn ordinary(session: &mut Session) -> Answer<()> {
    expect(
        session.attributes(ROOT)?.mode & libc::S_IFMT == libc::S_IFDIR,
        "the root's mode",
    )?;
    let node = session.resolve(image::FILE)?;
    let handle = session.open(node)?;
    let found = session.read(node, handle, 70_000, 5000)?;
    session.release(node, handle)?;
    expect(found == content(70_000, 5000), "5000 bytes of the file")
}

/// Bytes of the image's file.
pub(crate) fn content(offset: usize, length: usize) -> Vec<u8> {
    (offset..offset + length).map(image::file_byte).collect()
}

/// Turns a broken expectation into a failure of the case.
///
/// # Errors
/// When it does not hold.
pub(crate) fn expect(holds: bool, what: &str) -> Answer<()> {
    if holds {
        Ok(())
    } else {
        Err(Failure::Malformed(format!("expected: {what}")))
    }
}

/// Accepts every answer, but not silence or a malformed one.
///
/// # Errors
/// `Lost` and `Malformed` as they are.
pub(crate) fn any_answer(answer: Answer<Vec<u8>>) -> Answer<()> {
    match answer {
        Ok(_) | Err(Failure::Errno(1..4096) | Failure::NoReply(0)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Accepts one of these errnos only.
///
/// # Errors
/// When the answer is another.
pub(crate) fn refused(answer: Answer<Vec<u8>>, errnos: &[i32]) -> Answer<()> {
    match answer {
        Err(Failure::Errno(errno)) if errnos.contains(&errno) => Ok(()),
        other => Err(Failure::Malformed(format!(
            "expected one of {errnos:?}, not {other:?}"
        ))),
    }
}

/// Memory of the guest that a case may use.
pub(crate) struct Scratch {
    /// A GETATTR of the root, ready to be sent.
    pub(crate) request: u64,
    /// One page for the reply.
    pub(crate) reply: u64,
}

/// Takes memory and writes a GETATTR of the root to it.
///
/// # Errors
/// When the guest has no memory left.
pub(crate) fn scratch(session: &mut Session) -> Answer<Scratch> {
    let ram = &mut session.frontend.ram;
    let (request, reply) = (ram.alloc(64, 8)?, ram.alloc(4096, 8)?);
    let body = Body::default().u64(0).u64(0).0;
    ram.write(request, &message(op::GETATTR, 7, ROOT, &body))?;
    Ok(Scratch { request, reply })
}

/// Descriptors one after the other from [`FREE`] on, linked up: readable ones,
/// then writable ones.
pub(crate) fn linked(readable: &[(u64, u32)], writable: &[(u64, u32)]) -> Vec<Descriptor> {
    let parts = readable.iter().map(|&part| (part, 0));
    let parts: Vec<_> = parts
        .chain(writable.iter().map(|&part| (part, WRITE)))
        .collect();
    let count = parts.len();
    let link = |(position, ((address, length), flags)): (usize, ((u64, u32), u16))| {
        let last = position + 1 == count;
        let next = FREE + u16::try_from(position + 1).unwrap();
        let flags = if last { flags } else { flags | NEXT };
        Descriptor {
            address,
            length,
            flags,
            next: if last { 0 } else { next },
        }
    };
    parts.into_iter().enumerate().map(link).collect()
}

/// Writes the descriptors from [`FREE`] on, offers the first and waits until
/// the device gives it back.
///
/// # Errors
/// `Lost` when it does not come back, `Malformed` when another one does.
pub(crate) fn send_chain(session: &mut Session, chain: &[Descriptor]) -> Answer<Used> {
    let timeout = session.frontend.timeout();
    let ring = &mut session.frontend.queues[1].ring;
    for (index, descriptor) in (FREE..).zip(chain) {
        ring.describe(index, *descriptor)?;
    }
    ring.offer(FREE)?;
    ring.notify()?;
    let used = ring.take(timeout)?.ok_or_else(|| {
        Failure::Lost(io::Error::new(
            io::ErrorKind::TimedOut,
            "the chain did not come back",
        ))
    })?;
    expect(used.head == u32::from(FREE), "the head that was offered")?;
    Ok(used)
}
