//! A registry for tests and benchmarks: slow, paced and faulty on request.
//!
//! It serves the files of one directory (named by their 64 hexadecimal digits)
//! as a registry does, `/v2/<repository>/blobs/sha256:<id>`, and under plain
//! paths, `/<anything>/<id>`, both with GET, HEAD and `Range`. Files below
//! `manifests/` are served as `/v2/<repository>/manifests/<file>`.
//!
//! In a test:
//!
//! ```ignore
//! let registry = Registry::start(&blobs, Settings { rtt_ms: 20.0, ..Settings::default() })?;
//! let base = registry.url();            // http://127.0.0.1:port
//! registry.change(|settings| settings.faults = vec![
//!     Fault::new(What::Alter { bytes: 1 }).every(7),
//!     Fault::new(What::Status { status: 503, retry_after: None }).for_ms(500),
//! ]);
//! assert_eq!(registry.counts().by_status.get("206"), Some(&12));
//! let log = registry.log();             // time, blob, range, status of each answer
//! ```
//!
//! From a script: `cargo run --example test-registry -- --dir BLOBS` prints the
//! URL; `PUT /_control` takes a whole [`Settings`] as JSON (absent keys get their
//! defaults), `GET /_control` shows it, `GET /_counts` and `GET /_log` tell what
//! happened, `POST /_reset` sets counts and log back, `POST /_expire` makes all
//! tokens and signed links of before worthless. None of these is paced or
//! counted.
//!
//! * [`settings`]: every knob. `auth` switches Basic or Bearer on (with a
//!   `/token` endpoint), `redirect` sends blob requests over so many hops to a
//!   signed, expiring link, on another port if wanted.
//! * [`link`], [`wire`] and [`connection`]: bandwidth. One link for all connections, taken in
//!   slices of a fraction of a millisecond, so that streams share it fairly.
//! * [`answer`], [`blob`], [`body`], [`fault`]: what is answered, and what goes wrong.
//! * [`auth`], [`links`]: tokens; redirects and signed links.
//! * [`counts`], [`control`]: what happened, and the endpoints above.
//!
//! Uses nothing of the other modules here, so that an example can include it.

// As in the module above: each target uses its own part.
#![allow(dead_code, unused_imports, unreachable_pub)]

mod answer;
mod auth;
mod blob;
mod body;
mod connection;
mod control;
pub mod counts;
mod dice;
mod fault;
mod link;
mod links;
mod server;
pub mod settings;
mod target;
mod timer;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

pub use counts::{Counts, Entry};
pub use settings::{Auth, Fault, On, Redirect, Settings, What};

use server::State;

/// A running registry, gone when dropped.
#[derive(Debug)]
pub struct Registry {
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Registry {
    /// Serves the files of `directory` at a free port of 127.0.0.1, from a
    /// thread of its own.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub fn start(directory: &Path, settings: Settings) -> io::Result<Self> {
        Self::start_at(directory, settings, 0)
    }

    /// As [`Registry::start`], at a port of the caller's choice. The second
    /// port, for redirects, is always a free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start_at(directory: &Path, settings: Settings, port: u16) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listeners = {
            let _inside = runtime.enter();
            server::listen(port)?
        };
        let state = Arc::new(State::new(directory, settings, &listeners)?);
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&state);
        let thread = thread::Builder::new()
            .name("test-registry".into())
            .spawn(move || runtime.block_on(server::serve(served, listeners, stopped)))?;
        Ok(Self {
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Address of the first port.
    pub fn address(&self) -> SocketAddr {
        self.state.addresses[0]
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Changes settings from the next request on (bandwidth: at once). Windows
    /// (`for_ms`) and counters of faults start anew.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        self.state.change(change);
    }

    /// What happened since the start or [`Registry::reset`].
    pub fn counts(&self) -> Counts {
        self.state.counts.now()
    }

    /// Each answer to a blob, manifest or token request, in the order in which
    /// the requests came.
    pub fn log(&self) -> Vec<Entry> {
        self.state.counts.log()
    }

    /// Sets counts and log back.
    pub fn reset(&self) {
        self.state.counts.reset();
    }

    /// Makes all tokens and signed links of before worthless.
    pub fn expire(&self) {
        self.state.expire();
    }

    /// Waits for the end of the process that holds it.
    pub fn serve_for_ever(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
