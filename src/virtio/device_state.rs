//! Handing the device's state to a VMM that moves or saves its guest
//! (vhost-user specification, "Migrating back-end state"): the VMM gives a pipe, which
//! a thread writes or reads, and asks afterwards how it went. The thread ends with the
//! connection, whatever becomes of the pipe.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use vhost::vhost_user::message::VhostTransferStateDirection as Direction;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

/// Longest state that is written or read, in bytes.
const MAX: u64 = 1 << 30;

/// Which event it was: the pipe is ready, or the connection ended.
const READY: u64 = 0;
const ENDED: u64 = 1;

/// What has a state that goes with a guest.
pub trait DeviceState: Send + Sync + 'static {
    /// Writes the state.
    ///
    /// # Errors
    /// When it cannot be written, or what is there cannot go with a guest.
    fn save(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Reads a state in place of the one that is there, up to the end. When it fails,
    /// the one that is there goes on.
    ///
    /// # Errors
    /// When it is none, or what it names is not there.
    fn load(&self, from: &mut dyn Read) -> io::Result<()>;
}

/// A transfer that is under way or done. Dropped, it is waited for: the connection
/// must be closed then, so that it cannot wait for the VMM.
#[derive(Default)]
pub(super) struct Transfer {
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Whose end ends a transfer.
    connection: Option<UnixStream>,
}

impl Transfer {
    /// Has transfers end with a connection.
    pub(super) fn watch(&mut self, connection: UnixStream) {
        self.connection = Some(connection);
    }

    /// Begins to write or read the state; `loaded` is called when another one is there.
    ///
    /// # Errors
    /// When one is under way, or there are no more threads or descriptors.
    pub(super) fn begin(
        &mut self,
        state: &Arc<dyn DeviceState>,
        direction: Direction,
        file: File,
        loaded: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let under_way = |thread: &JoinHandle<_>| !thread.is_finished();
        if self.thread.as_ref().is_some_and(under_way) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let state = Arc::clone(state);
        let mut pipe = Pipe::new(file, direction, self.connection.as_ref())?;
        let work = move || match direction {
            Direction::SAVE => {
                let mut out = io::BufWriter::new(pipe);
                state.save(&mut out)?;
                out.flush()
            }
            Direction::LOAD => {
                state.load(&mut Read::by_ref(&mut pipe).take(MAX))?;
                loaded();
                Ok(())
            }
        };
        let thread = std::thread::Builder::new().name("device-state".to_owned());
        self.thread = Some(thread.spawn(work)?);
        Ok(())
    }

    /// Waits for the end of the transfer.
    ///
    /// # Errors
    /// What it failed with, or that there was none.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let thread = self.thread.take();
        let thread = thread.ok_or_else(|| io::Error::other("no state was transferred"))?;
        let result = thread.join();
        result
            .unwrap_or_else(|_| Err(io::Error::other("the transfer panicked")))
            .inspect_err(|error| log::error!("The device's state was not transferred: {error}"))
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // It is in the log.
            let _ = self.end();
        }
    }
}

/// A VMM's pipe, waited for no longer than the connection lasts.
struct Pipe {
    file: File,
    epoll: Epoll,
    /// Whether it can be waited for: a file on a disk cannot.
    waits: bool,
    /// Bytes that may still be written.
    left: u64,
}

impl Pipe {
    fn new(file: File, direction: Direction, connection: Option<&UnixStream>) -> io::Result<Self> {
        fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::NONBLOCK)?;
        let epoll = Epoll::new()?;
        let ready = match direction {
            Direction::SAVE => EventSet::OUT,
            Direction::LOAD => EventSet::IN,
        };
        let event = EpollEvent::new(ready, READY);
        let waits = match epoll.ctl(ControlOperation::Add, file.as_raw_fd(), event) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => false,
            Err(error) => return Err(error),
        };
        if let Some(connection) = connection {
            // A hang-up is told without being asked for.
            let event = EpollEvent::new(EventSet::empty(), ENDED);
            epoll.ctl(ControlOperation::Add, connection.as_raw_fd(), event)?;
        }
        Ok(Self {
            file,
            epoll,
            waits,
            left: MAX,
        })
    }

    /// Carries out `call` when the pipe is ready for it.
    fn when_ready<T>(&mut self, mut call: impl FnMut(&mut File) -> io::Result<T>) -> io::Result<T> {
        loop {
            let mut events = [EpollEvent::default(); 2];
            let patience = if self.waits { -1 } else { 0 };
            let count = match self.epoll.wait(patience, &mut events) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            let mut told = events.iter().take(count);
            if told.any(|event| event.data() == ENDED) {
                let text = "the connection ended in the middle of it";
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
            }
            match call(&mut self.file) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.when_ready(|file| file.read(bytes))
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Here the guest can go on; who has to read it could only give it up.
        let left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            let text = format!("it has more than {MAX} bytes, and no daemon takes so many");
            io::Error::new(io::ErrorKind::FileTooLarge, text)
        })?;
        let written = self.when_ready(|file| file.write(bytes))?;
        self.left = left + (bytes.len() - written) as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state of so many bytes.
    struct Long(u64);

    impl DeviceState for Long {
        fn save(&self, out: &mut dyn Write) -> io::Result<()> {
            let piece = vec![7; 1 << 20];
            let mut left = self.0;
            while left > 0 {
                let len = piece.len().min(usize::try_from(left).unwrap());
                out.write_all(&piece[..len])?;
                left -= len as u64;
            }
            Ok(())
        }

        fn load(&self, _: &mut dyn Read) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn a_state_that_nobody_takes_is_not_saved() {
        for (len, saved) in [(MAX, true), (MAX + 1, false)] {
            let state: Arc<dyn DeviceState> = Arc::new(Long(len));
            let file = File::options().write(true).open("/dev/null").unwrap();
            let mut transfer = Transfer::default();
            let begun = transfer.begin(&state, Direction::SAVE, file, || {});
            begun.unwrap();
            assert_eq!(transfer.end().is_ok(), saved, "{len} bytes");
        }
    }
}
