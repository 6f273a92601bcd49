//! The directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use super::incoming;

/// How long to wait for a daemon that is on its way out: the kernel takes a killed
/// process apart after its parent may know of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest file that is read as a whole, in bytes.
const READ_MAX: u64 = 64 << 20;

/// Ends the names of files that are being written.
pub(super) const UNFINISHED: &str = ".new";

/// The name of a file that is about to have none.
const SCRATCH: &str = "scratch";

/// Why state cannot be kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another daemon has it.
    #[error("Another daemon keeps its state in {0}; stop it, or name another directory")]
    InUse(PathBuf),
    /// Others may look in or write.
    #[error(
        "The state directory {path} is not this user's alone (mode {mode:o}, owner {owner}); make it 0700, or name one that does not exist yet"
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
    /// Something else is kept there, which an orderly end must not meet.
    #[error(
        "The state directory {path} holds {name}, which is none of a daemon's state; name a directory that is for state alone"
    )]
    Shared {
        /// The directory.
        path: PathBuf,
        /// What is there.
        name: String,
    },
    /// The system refused.
    #[error("Cannot keep state in {path}; check that it can be written and has room")]
    Failed {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is there was not written by this version.
    #[error(
        "{path} is not what this version writes ({reason}); remove the directory to begin anew"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl StateError {
    /// What the system said about `path`.
    pub fn failed(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Failed {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// A directory of one daemon's state, locked as long as this is there.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl StateDir {
    /// Makes the directory, or takes over one that a daemon left behind.
    ///
    /// # Errors
    /// When it cannot be made, is open to others, or another daemon has it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |source: io::Error| StateError::failed(path, source);
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let dir = File::open(path).map_err(failed)?;
        let meta = dir.metadata().map_err(failed)?;
        if !meta.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        let (mode, owner) = (meta.mode() & 0o7777, meta.uid());
        if mode & 0o077 != 0 || owner != rustix::process::geteuid().as_raw() {
            return Err(StateError::Open {
                path: path.to_owned(),
                mode,
                owner,
            });
        }
        holds_state_alone(path)?;
        let start = Instant::now();
        loop {
            match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(StateError::InUse(path.to_owned()));
                }
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        incoming::settle(path)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: dir,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Puts `bytes` in the place of the file `name`, all or none of them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let (path, new) = (self.file(name), self.file(&format!("{name}{UNFINISHED}")));
        let write = || {
            let mut file = private().create(true).truncate(true).open(&new)?;
            file.write_all(bytes)?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| StateError::failed(&path, source))
    }

    /// The bytes of the file `name`; none when there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, or is far too long.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.file(name);
        let mut bytes = Vec::new();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StateError::failed(&path, error)),
        };
        let read = file.take(READ_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| StateError::failed(&path, error))?;
        if bytes.len() as u64 > READ_MAX {
            let reason = format!("it has more than {READ_MAX} bytes");
            return Err(StateError::Foreign { path, reason });
        }
        Ok(Some(bytes))
    }

    /// The names of its files that are finished, sorted.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn names(&self) -> Result<Vec<String>, StateError> {
        let failed = |source| StateError::failed(&self.path, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(name) = name.to_str()
                && !name.ends_with(UNFINISHED)
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes the file `name`; that there is none is as good.
    pub fn remove(&self, name: &str) {
        let path = self.file(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("Cannot remove {}: {error}", path.display());
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// A new file `name`, to be written.
    ///
    /// # Errors
    /// When it cannot be made, or is there.
    pub fn create(&self, name: &str) -> Result<File, StateError> {
        let path = self.file(name);
        let made = private().create_new(true).open(&path);
        made.map_err(|source| StateError::failed(&path, source))
    }

    /// A file that has no name and goes with its descriptor.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<File, StateError> {
        let path = self.file(&format!("{SCRATCH}{UNFINISHED}"));
        let failed = |source| StateError::failed(&path, source);
        let mut options = private();
        options.read(true).create(true).truncate(true);
        let file = options.open(&path).map_err(failed)?;
        fs::remove_file(&path).map_err(failed)?;
        Ok(file)
    }

    /// Removes all files of state, at an orderly end: nobody is to go on.
    pub fn empty(&self) {
        incoming::empty(&self.path);
        let Ok(entries) = fs::read_dir(&self.path) else {
            return;
        };
        for entry in entries.flatten() {
            if let Some(name) = entry.file_name().to_str()
                && is_state(name)
            {
                self.remove(name);
            }
        }
    }
}

/// Refuses a directory in which somebody keeps something else.
fn holds_state_alone(path: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::failed(path, source);
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !name.to_str().is_some_and(is_state) {
            return Err(StateError::Shared {
                path: path.to_owned(),
                name: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

/// Whether a file of this name is one of state's.
pub(super) fn is_state(name: &str) -> bool {
    let name = name.strip_suffix(UNFINISHED).unwrap_or(name);
    matches!(name, "daemon.json" | "session" | "requests" | SCRATCH)
        || name.starts_with("mount-")
        || incoming::is_incoming(name)
}

/// How files of state are opened: for this user alone, since configurations hold
/// credentials.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_is_private_and_of_one_daemon() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state");
        let dir = StateDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(matches!(StateDir::open(&path), Err(StateError::InUse(_))));
        drop(dir);
        StateDir::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(
            StateDir::open(&path),
            Err(StateError::Open { mode: 0o750, .. })
        ));
    }

    #[test]
    fn files_are_private_whole_and_gone_when_emptied() {
        let home = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&home.path().join("state")).unwrap();
        let name = "mount-2.json";
        assert_eq!(dir.read(name).unwrap(), None);
        dir.replace(name, b"one").unwrap();
        dir.replace(name, b"two").unwrap();
        assert_eq!(dir.read(name).unwrap().unwrap(), b"two");
        let mode = fs::metadata(dir.file(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(dir.file("session.new"), b"torn").unwrap();
        fs::write(dir.file("requests"), b"").unwrap();
        assert_eq!(dir.names().unwrap(), [name, "requests"]);
        dir.empty();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_others_keep_in_a_directory_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys");
        let dir = StateDir::open(&path).unwrap();
        fs::write(path.join("secret"), b"mine").unwrap();
        fs::create_dir(path.join("more")).unwrap();
        dir.empty();
        assert_eq!(fs::read(path.join("secret")).unwrap(), b"mine");
        assert!(path.join("more").exists());
        drop(dir);
        let refused = StateDir::open(&path).unwrap_err();
        assert!(matches!(refused, StateError::Shared { .. }), "{refused}");
    }
}
