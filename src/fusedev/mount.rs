//! Mounting and unmounting.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fuse_backend_rs::transport::FuseSession;
use parking_lot::Mutex;
use rustix::mount::UnmountFlags;
use thiserror::Error;
use tokio::sync::Semaphore;

use super::worker::{MAX_WAITING, Worker};
use crate::fs::FileSystem;
use crate::fuse::{Server, Stats};
use crate::threads::{self, Kind};

/// What `mount` and `df` show as the source.
const SOURCE: &str = "tidegate";

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Threads that read requests, at least 1.
    pub threads: usize,
    /// Whether other users than the one who mounts may look in.
    pub allow_other: bool,
    /// Whether the host's kernel refuses all that writes.
    pub read_only: bool,
    /// Where requests are counted.
    pub stats: Arc<Stats>,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            threads: 4,
            allow_other: true,
            read_only: true,
            stats: Arc::default(),
        }
    }
}

/// Why an image could not be mounted or unmounted.
#[derive(Debug, Error)]
pub enum MountError {
    /// The mountpoint cannot be used.
    #[error("Cannot mount on {path}; name a directory that exists")]
    Mountpoint {
        /// The mountpoint.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel or fusermount refused.
    #[error(
        "Cannot mount on {path}: {reason}; check that /dev/fuse exists and that you are root or have fusermount3"
    )]
    Mount {
        /// The mountpoint.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A thread could not be started.
    #[error("Cannot start the threads that serve {path}")]
    Thread {
        /// The mountpoint.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mount could not be removed.
    #[error("Cannot unmount {path}: {reason}; try `umount --lazy`")]
    Unmount {
        /// The mountpoint.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A mounted file system; unmounted when this is dropped.
pub struct Mounted {
    path: PathBuf,
    session: Mutex<FuseSession>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

/// Mounts `fs` on `mountpoint` and serves it from threads of its own.
///
/// # Errors
/// When the mountpoint is no directory, the kernel refuses, or there are no
/// threads left.
pub fn mount(
    mountpoint: &Path,
    fs: Arc<dyn FileSystem>,
    options: MountOptions,
) -> Result<Mounted, MountError> {
    let path = directory(mountpoint).map_err(|source| MountError::Mountpoint {
        path: mountpoint.to_owned(),
        source,
    })?;
    let failed = |error: fuse_backend_rs::transport::Error| MountError::Mount {
        path: path.clone(),
        reason: error.to_string(),
    };
    let mut session = FuseSession::new(&path, SOURCE, SOURCE, options.read_only).map_err(failed)?;
    session.set_allow_other(options.allow_other);
    session.mount().map_err(failed)?;

    let server = Arc::new(Server::counting(fs, options.stats));
    let waiting = Arc::new(Semaphore::new(MAX_WAITING));
    let mut workers = Vec::new();
    // Dropping the session on the way out of an error unmounts, which ends the
    // threads that were started.
    for _ in 0..options.threads.max(1) {
        let worker = Worker {
            server: server.clone(),
            device: Arc::new(session.clone_fuse_file().map_err(failed)?),
            waiting: waiting.clone(),
        };
        let thread = thread::Builder::new()
            .name("tidegate-fuse".to_owned())
            .spawn(move || {
                threads::begin(Kind::Fuse);
                worker.run();
            })
            .map_err(|source| MountError::Thread {
                path: path.clone(),
                source,
            })?;
        workers.push(thread);
    }
    log::info!("Mounted on {}", path.display());
    Ok(Mounted {
        path: path.clone(),
        session: Mutex::new(session),
        workers: Mutex::new(workers),
    })
}

/// The mountpoint without links, if it is a directory with a printable path
/// (fuse-backend-rs cannot unmount any other).
fn directory(path: &Path) -> io::Result<PathBuf> {
    let path = path.canonicalize()?;
    if !path.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if path.to_str().is_none() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path is not UTF-8",
        ));
    }
    Ok(path)
}

impl Mounted {
    /// The directory that shows the file system.
    pub fn mountpoint(&self) -> &Path {
        &self.path
    }

    /// Waits until the file system is unmounted, by [`Mounted::unmount`] or by
    /// someone else, and no process uses it any more.
    pub fn wait(&self) {
        let workers = std::mem::take(&mut *self.workers.lock());
        for worker in workers {
            // A panic in a worker is already logged.
            let _ = worker.join();
        }
    }

    /// Unmounts. If processes still use the file system, it vanishes from the
    /// directory at once and is served until they are done.
    ///
    /// # Errors
    /// When the kernel or fusermount refuses.
    pub fn unmount(&self) -> Result<(), MountError> {
        let mut session = self.session.lock();
        if session.get_fuse_file().is_none() {
            return Ok(());
        }
        match rustix::mount::unmount(&self.path, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(rustix::io::Errno::BUSY) => log::info!(
                "{} is in use; it is detached, and its users are served as long as this process runs",
                self.path.display()
            ),
            // The session knows more ways.
            Err(error) => log::debug!("Plain unmount of {}: {error}", self.path.display()),
        }
        // Does nothing if the connection is gone; else detaches.
        session.umount().map_err(|error| MountError::Unmount {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            log::warn!("{error}");
        }
    }
}
