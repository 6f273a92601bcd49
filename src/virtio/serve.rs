//! The server: one connection after the other.

use std::io;
use std::net;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use vhost::vhost_user::{BackendListener, Error as VhostError, Listener};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::device::Device;
use super::device_state::DeviceState;
use super::handler::Handler;
use super::shutdown::Shutdown;
use super::workers::Workers;
use crate::fs::FileSystem;
use crate::fuse::{Server, Stats};
use crate::socket::{SocketError, listen};

/// Most queues of a device: one bit of a word each, and one for high priority.
const MAX_REQUEST_QUEUES: usize = 63;

/// Largest tag, in bytes.
const MAX_TAG: usize = 36;

/// How to serve.
#[derive(Clone)]
pub struct ServeOptions {
    /// Where to listen.
    pub socket: PathBuf,
    /// A socket that listens already, in the place of one that is made at
    /// `socket`; its file, if it has one, is left alone.
    pub listener: Option<Arc<UnixListener>>,
    /// Queues for requests, 1 to 63, each with a thread; one more for high
    /// priority comes on top.
    pub request_queues: usize,
    /// Most entries of a queue: a power of two up to 32768. 1024 lets a guest
    /// read 1 MiB at once.
    pub queue_size: u16,
    /// Tag to tell a VMM that asks for the device's configuration; QEMU and
    /// Cloud Hypervisor have the tag on their own command lines.
    pub tag: Option<String>,
    /// How long a queue's thread looks for the next request before it sleeps,
    /// while the guest keeps several in flight. Zero: it sleeps at once.
    pub busy_poll: Duration,
    /// Whether to end when the first VMM disconnects.
    pub exit_on_disconnect: bool,
    /// Where requests are counted.
    pub stats: Arc<Stats>,
    /// A private directory in which requests under way are recorded, so that a
    /// process that comes after this one was killed serves them.
    pub record: Option<PathBuf>,
    /// What is handed to a VMM that saves or moves its guest.
    pub state: Option<Arc<dyn DeviceState>>,
}

impl ServeOptions {
    /// The defaults for a socket: 4 queues of 1024 entries, and no end.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            listener: None,
            request_queues: 4,
            queue_size: 1024,
            tag: None,
            busy_poll: Duration::from_micros(50),
            exit_on_disconnect: false,
            stats: Arc::default(),
            record: None,
            state: None,
        }
    }

    fn check(&self) -> Result<(), ServeError> {
        if !(1..=MAX_REQUEST_QUEUES).contains(&self.request_queues) {
            return Err(ServeError::Options(format!(
                "{} request queues (1 to {MAX_REQUEST_QUEUES} are possible)",
                self.request_queues
            )));
        }
        if !self.queue_size.is_power_of_two() {
            return Err(ServeError::Options(format!(
                "queue size {} (a power of two up to 32768 is needed)",
                self.queue_size
            )));
        }
        if let Some(tag) = &self.tag
            && !(1..=MAX_TAG).contains(&tag.len())
        {
            return Err(ServeError::Options(format!(
                "tag {tag:?} (1 to {MAX_TAG} bytes are possible)"
            )));
        }
        Ok(())
    }
}

/// Why serving ended or never began.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The options make no sense.
    #[error("The device cannot have {0}")]
    Options(String),
    /// The socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Waiting for a VMM failed.
    #[error("Cannot wait for a VMM on {path}")]
    Accept {
        /// The path of the socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The device could not be set up for a connection.
    #[error("Cannot set up the device for the VMM on {path}: {reason}")]
    Device {
        /// The path of the socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Serves `fs` to VMMs that connect to the socket, one after the other.
/// `ready` is called once, as soon as they can connect.
///
/// What the file system and the FUSE session know survives a reconnect; a
/// guest that starts anew sends INIT.
///
/// # Errors
/// When the socket cannot be had or the system has no threads or descriptors
/// left. What a VMM or a guest does wrong ends at most its connection.
pub fn serve(
    options: &ServeOptions,
    fs: Arc<dyn FileSystem>,
    shutdown: &Shutdown,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    options.check()?;
    let listener = match &options.listener {
        Some(given) => given.try_clone().map_err(|source| ServeError::Accept {
            path: options.socket.clone(),
            source,
        })?,
        None => {
            let (listener, file) = listen(&options.socket)?;
            shutdown.guard(file);
            listener
        }
    };
    let result = accept_all(options, Listener::from(listener), fs, shutdown, ready);
    shutdown.remove_socket();
    result
}

fn accept_all(
    options: &ServeOptions,
    mut listener: Listener,
    fs: Arc<dyn FileSystem>,
    shutdown: &Shutdown,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let accept_error = |source| ServeError::Accept {
        path: options.socket.clone(),
        source,
    };
    let server = Arc::new(Server::counting(fs, Arc::clone(&options.stats)));
    let epoll = Epoll::new().map_err(accept_error)?;
    for fd in [listener.as_raw_fd(), shutdown.event().as_raw_fd()] {
        let event = EpollEvent::new(EventSet::IN, 0);
        epoll
            .ctl(ControlOperation::Add, fd, event)
            .map_err(accept_error)?;
    }
    ready();
    loop {
        // Threads and tables of a device are made when a VMM is at the door.
        match epoll.wait(-1, &mut [EpollEvent::default()]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(accept_error(error)),
            Ok(_) if shutdown.is_stopped() => return Ok(()),
            Ok(_) => {}
        }
        connection(options, &mut listener, &server, shutdown)?;
        if options.exit_on_disconnect || shutdown.is_stopped() {
            return Ok(());
        }
    }
}

/// Serves one VMM until it disconnects.
fn connection(
    options: &ServeOptions,
    listener: &mut Listener,
    server: &Arc<Server>,
    shutdown: &Shutdown,
) -> Result<(), ServeError> {
    let failed = |reason: String| ServeError::Device {
        path: options.socket.clone(),
        reason,
    };
    let device = Device::new(server, options).map_err(|error| failed(error.to_string()))?;
    let device = Arc::new(device);
    let workers = Workers::start(&device).map_err(|error| failed(error.to_string()))?;
    let handler = Handler::new(&device, workers, options.state.clone());
    let handler = Arc::new(Mutex::new(handler));
    let mut requests = loop {
        let accepted = BackendListener::new(listener, Arc::clone(&handler));
        let accepted = accepted.and_then(|mut listener| listener.accept());
        match accepted.map_err(|error| failed(error.to_string()))? {
            Some(requests) => break requests,
            None if shutdown.is_stopped() => return Ok(()),
            None => {}
        }
    };
    let stream = requests.try_clone_connection();
    let stream = stream.map_err(|error| failed(error.to_string()))?;
    let clone = || {
        stream
            .try_clone()
            .map_err(|error| failed(error.to_string()))
    };
    shutdown.set_connection(Some(clone()?));
    handler
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .watch(clone()?);
    log::info!("A VMM connected to {}", options.socket.display());
    let talk = || loop {
        if let Err(error) = requests.handle_request() {
            break error;
        }
    };
    // A bug in one message must not end the daemon.
    let end = catch_unwind(AssertUnwindSafe(talk)).unwrap_or_else(|_| {
        log::error!("A message of the VMM made its handler panic; report this as a bug");
        VhostError::BackendInternalError
    });
    match end {
        VhostError::Disconnected | VhostError::PartialMessage | VhostError::SocketBroken(_) => {
            log::info!("The VMM on {} disconnected", options.socket.display());
        }
        error if shutdown.is_stopped() => log::debug!("The connection ends: {error}"),
        error => log::warn!(
            "The connection of the VMM on {} is ended: {error}",
            options.socket.display()
        ),
    }
    // It sees the end at once, and not when all work is done.
    let _ = stream.shutdown(net::Shutdown::Both);
    shutdown.set_connection(None);
    device.close();
    // Dropping the handler ends the worker threads and waits for them.
    drop((requests, handler));
    Ok(())
}
