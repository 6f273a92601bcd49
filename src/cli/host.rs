//! What daemons with many mounts have in common: the API, the tree, their end.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::attach::{Attacher, HostRules, TransferError};
use crate::cli::state_options::StateArguments;
use crate::cli::{Failure, signals};
use crate::control::{Bound, Daemon, State};
use crate::error_chain::chain;
use crate::fs::mounts::MountTree;
use crate::state::StateDir;
use crate::virtio::{self, DeviceState, ServeOptions, Shutdown};

/// A daemon that is being set up, or serves. Dropped, its files are removed.
pub(super) struct Host {
    pub(super) daemon: Arc<Daemon>,
    pub(super) attacher: Arc<Attacher>,
    files: Arc<Files>,
}

/// Files that are there as long as the daemon.
struct Files {
    socket: Box<dyn Fn() + Send + Sync>,
    pid: Option<PathBuf>,
}

impl Files {
    fn remove(&self) {
        (self.socket)();
        let own = std::process::id().to_string();
        if let Some(path) = &self.pid
            && fs::read_to_string(path).is_ok_and(|text| text.trim() == own)
        {
            // Gone already is as good.
            let _ = fs::remove_file(path);
        }
    }
}

impl Host {
    /// A host without mounts, whose API answers from now on. `rules` are for
    /// mounts that the API asks for; `state` says where what outlives the process is
    /// written down, if it is.
    ///
    /// # Errors
    /// When the state directory or its key cannot be used, the pid file cannot be written or there are no threads.
    pub(super) fn start(
        daemon: Arc<Daemon>,
        control: Bound,
        rules: HostRules,
        pid_file: Option<&Path>,
        state: &StateArguments,
    ) -> Result<Self, Failure> {
        let (dir, key) = (state.dir().map(StateDir::open).transpose()?, state.key()?);
        let files = Files {
            socket: Box::new(control.remover()),
            pid: pid_file.map(Path::to_owned),
        };
        let attacher = Attacher::new(MountTree::new(), Arc::clone(&daemon), rules);
        if let Some(dir) = dir {
            attacher.keep(dir)?;
        }
        if let Some(key) = key {
            attacher.carry(key);
        }
        daemon.set_mounts(Arc::clone(&attacher) as _);
        let host = Self {
            daemon,
            attacher,
            files: Arc::new(files),
        };
        if let Some(path) = pid_file {
            let written = fs::write(path, format!("{}\n", std::process::id()));
            written.map_err(|error| {
                let path = path.display();
                format!("Cannot write the pid file {path}: {error}")
            })?;
        }
        control.start(&host.daemon)?;
        Ok(host)
    }

    /// What the command line names cannot be opened. A daemon that goes on where
    /// another was killed does so without it.
    ///
    /// # Errors
    /// The failure, if it goes on from nowhere.
    pub(super) fn lose(&self, failure: Failure) -> Result<(), Failure> {
        if !self.attacher.is_restoring() {
            return Err(failure);
        }
        log::error!("{failure}");
        Ok(())
    }

    /// Has the process end at a signal, after `end`.
    ///
    /// # Errors
    /// When the handlers cannot be had.
    pub(super) fn end_at_signals(
        &self,
        end: impl FnOnce() + Send + 'static,
    ) -> Result<(), Failure> {
        let (stores, attacher) = (Arc::clone(&self.attacher), Arc::clone(&self.attacher));
        let (daemon, files) = (Arc::clone(&self.daemon), Arc::clone(&self.files));
        signals::handle(
            move || stores.stores(),
            move || {
                daemon.set_state(State::Stopped);
                files.remove();
                end();
                attacher.finish();
                attacher.forget_state();
            },
        )?;
        Ok(())
    }

    /// Serves the tree as a vhost-user-fs device, until `shutdown` or the end of
    /// the first connection, if that is the end.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub(super) fn serve(&self, options: &ServeOptions, shutdown: &Shutdown) -> Result<(), Failure> {
        self.serve_and(options, shutdown, || {})
    }

    /// The same; calls `ready` as soon as a machine may connect.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub(super) fn serve_and(
        &self,
        options: &ServeOptions,
        shutdown: &Shutdown,
        ready: impl FnOnce(),
    ) -> Result<(), Failure> {
        self.attacher.begin()?;
        self.daemon.set_state(State::Ready);
        let tree = Arc::clone(self.attacher.tree());
        let is_carried = self.attacher.is_carried();
        let state = is_carried.then(|| Arc::new(Carried(Arc::clone(&self.attacher))) as _);
        let options = &ServeOptions {
            state,
            ..options.clone()
        };
        virtio::serve(options, tree, shutdown, || {
            log::info!("Listening on {}", options.socket.display());
            self.daemon.set_state(State::Running);
            ready();
        })?;
        Ok(())
    }

    /// The end of a daemon that no signal ended.
    pub(super) fn finish(&self) {
        self.daemon.set_state(State::Stopped);
        self.files.remove();
        self.attacher.finish();
        self.attacher.forget_state();
        signals::report_end(&self.attacher.stores());
    }
}

/// What is written down, as what goes with a guest.
struct Carried(Arc<Attacher>);

impl DeviceState for Carried {
    fn save(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.save_state(out).map_err(told)
    }

    fn load(&self, from: &mut dyn Read) -> io::Result<()> {
        self.0.load_state(from).map_err(told)
    }
}

fn told(error: TransferError) -> io::Error {
    io::Error::other(chain(&error))
}

impl Drop for Host {
    fn drop(&mut self) {
        self.files.remove();
    }
}

/// Takes over the listening socket with number `fd`.
pub(super) fn listener(fd: i32) -> Result<Arc<std::os::unix::net::UnixListener>, Failure> {
    let listener = crate::inherited::listener(fd);
    let listener =
        listener.map_err(|error| format!("Cannot serve on descriptor {fd}: {}", chain(&error)))?;
    Ok(Arc::new(listener))
}
