//! Ending [`serve`](super::serve()) from another thread.

use std::io;
use std::net;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use parking_lot::Mutex;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use crate::socket::SocketFile;

#[derive(Default)]
struct State {
    stopped: bool,
    socket: Option<SocketFile>,
    connection: Option<UnixStream>,
}

struct Inner {
    state: Mutex<State>,
    wake: EventNotifier,
    woken: EventConsumer,
}

/// A hook into a server that runs or will run; clones are the same hook.
///
/// A thread that handles signals calls [`Shutdown::remove_socket`] and exits
/// the process, which takes no longer than the two calls in any state of the
/// server; or [`Shutdown::stop`], after which [`serve`](super::serve())
/// returns.
#[derive(Clone)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

impl Shutdown {
    /// A hook for one server.
    ///
    /// # Errors
    /// When the system has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        let (woken, wake) =
            new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC)?;
        Ok(Self {
            inner: Arc::new(Inner {
                state: Mutex::default(),
                wake,
                woken,
            }),
        })
    }

    /// Removes the socket's file, so that nobody connects any more.
    pub fn remove_socket(&self) {
        self.inner.state.lock().socket = None;
    }

    /// Ends the server: the connection is closed, requests that wait are
    /// answered with an error, the socket's file is removed.
    pub fn stop(&self) {
        let mut state = self.inner.state.lock();
        state.stopped = true;
        state.socket = None;
        if let Some(connection) = &state.connection {
            let _ = connection.shutdown(net::Shutdown::Both);
        }
        // Fails only when it was written to without end; then it is readable.
        let _ = self.inner.wake.notify();
    }

    /// The event that becomes readable with [`Shutdown::stop`].
    pub(super) fn event(&self) -> &EventConsumer {
        &self.inner.woken
    }

    /// Whether the server should end.
    pub(super) fn is_stopped(&self) -> bool {
        self.inner.state.lock().stopped
    }

    /// Hands the socket's file over, to be removed at the end.
    pub(super) fn guard(&self, socket: SocketFile) {
        let mut state = self.inner.state.lock();
        if !state.stopped {
            state.socket = Some(socket);
        }
    }

    /// Names the connection that a stop closes.
    pub(super) fn set_connection(&self, connection: Option<UnixStream>) {
        let mut state = self.inner.state.lock();
        state.connection = connection;
        if let (true, Some(connection)) = (state.stopped, &state.connection) {
            let _ = connection.shutdown(net::Shutdown::Both);
        }
    }
}
