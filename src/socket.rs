//! Unix sockets that others connect to: made, guarded and removed.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::Mode;
use thiserror::Error;

/// What stands in the way of listening on a socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// A process listens there.
    #[error("Another process listens on {0}; stop it or choose another path")]
    InUse(PathBuf),
    /// Something else has the name.
    #[error("{0} exists and is not a socket; remove it or choose another path")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("Cannot listen on {path}; check that its directory exists and can be written")]
    Bind {
        /// The path of the socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A socket file of ours; removed when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// So as not to remove what has taken its place.
    identity: Identity,
}

impl SocketFile {
    /// Removes the file if it is still ours.
    pub(crate) fn remove(&self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // Gone already is as good.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Device, inode and, since inodes are used again, time of birth where the file
/// system knows it.
type Identity = (u64, u64, Option<SystemTime>);

fn identity(path: &Path) -> io::Result<Identity> {
    let meta = fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino(), meta.created().ok()))
}

/// Listens on `path`, for this user alone. A socket that nobody listens on any
/// more is replaced.
pub(crate) fn listen(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let refused = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    remove_stale(path)?;
    // The mask is the process's: this runs at start, before other threads make
    // files, and no file could come to harm from a stricter mask.
    let mask = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let bound = UnixListener::bind(path);
    rustix::process::umask(mask);
    let listener = bound.map_err(refused)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: identity(path).map_err(refused)?,
    };
    Ok((listener, file))
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let refused = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            log::info!("Removing {}, which nobody listens on", path.display());
            fs::remove_file(path).map_err(refused)
        }
        Err(error) => Err(refused(error)),
    }
}
