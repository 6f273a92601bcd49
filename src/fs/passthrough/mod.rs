//! A directory of the host, as the guest's own: what virtiofsd does.
//!
//! * [`PassthroughFs`] is the file system; [`Options`] says how it behaves.
//! * `host` is the few calls by which nodes are found and opened, `descriptors`
//!   what they may use up. Every node that the guest knows is held by an `O_PATH`
//!   descriptor until it is forgotten (`inode`, `inodes`, `table`), and is reached by nothing else:
//!   names are single components, opened without following links, so there is no
//!   way out of the directory.
//! * `numbers` makes inode numbers that are unique although several file systems
//!   of the host are mounted below the directory.
//! * `handles` are opened files and directories. Only regular files and directories
//!   are ever opened; devices and pipes are the guest kernel's own business.
//! * `keep` is what is written down of all this for a daemon after a crash, and
//!   `recover` and `found` find it again, by the kernel's own names for nodes
//!   (`file_handle`) where there are any.
//! * `again` forgives requests that were carried out before the daemon was killed.
//! * `ids` makes files as the guest's user.
//! * `serve` answers; `make`, `names`, `attributes`, `xattrs`, `listing` and `data`
//!   carry out.
//!
//! What waits for a disk (reads that the page cache does not hold, synchronous
//! writes and, while the disk is slow, the others (`pace`), FSYNC and its like) runs
//! on threads of the runtime, a bounded number at once.

mod again;
mod attributes;
mod data;
mod descriptors;
mod file_handle;
mod found;
mod handles;
mod host;
mod ids;
mod inode;
mod inodes;
mod keep;
mod listing;
mod make;
mod names;
mod numbers;
mod options;
mod pace;
mod recover;
mod serve;
mod slow;
mod table;
mod xattrs;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use self::descriptors::Held;
use self::handles::Handles;
use self::host::Stat;
use self::ids::Ids;
use self::inode::Inode;
use self::inodes::Inodes;
use self::keep::Kept;
pub use self::keep::KeptFiles;
use self::numbers::Numbers;
pub use self::options::{Cache, Options, UnknownCache};
use self::pace::Pace;
use self::slow::Slow;
use super::nodes::Holder;
use super::{Attr, Entry, Errno};
use crate::log_limit::LogLimit;
use crate::state::StateError;

/// Why a directory cannot be passed through.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PassthroughError {
    /// It cannot be opened.
    #[error("Cannot pass through {path}; name a directory that exists and can be read")]
    Source {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Descriptors cannot be opened anew.
    #[error("Cannot pass through {path} without /proc; mount it")]
    Proc {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Why a directory cannot go on where a daemon before this one was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeepError {
    /// What is written down cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// It is not the directory that it was.
    #[error("Another directory is in the place of the one that was passed through")]
    Changed,
}

/// A directory of the host as a file system.
pub struct PassthroughFs {
    source: PathBuf,
    options: Options,
    inodes: Inodes,
    handles: Handles,
    numbers: Numbers,
    ids: Ids,
    slow: Slow,
    pace: Arc<Pace>,
    exhausted: LogLimit,
}

impl PassthroughFs {
    /// Passes the directory at `source` through.
    ///
    /// # Errors
    /// When it is none or cannot be opened, or there is no `/proc`.
    pub fn new(source: &Path, options: Options) -> Result<Self, PassthroughError> {
        let failed = |errno: rustix::io::Errno| PassthroughError::Source {
            path: source.to_owned(),
            source: errno.into(),
        };
        let fd = host::open_source(source).map_err(failed)?;
        let stat = Stat::of(fd.as_fd()).map_err(failed)?;
        host::reopen(fd.as_fd(), libc::O_RDONLY | libc::O_DIRECTORY).map_err(|errno| {
            PassthroughError::Proc {
                path: source.to_owned(),
                source: errno.into(),
            }
        })?;
        descriptors::note_limit();
        let held = Held::exempt(fd);
        Ok(Self {
            numbers: Numbers::new(stat.dev),
            inodes: Inodes::new(Inode::new(&stat, held)),
            handles: Handles::default(),
            ids: Ids::new(),
            slow: Slow::default(),
            pace: Arc::default(),
            exhausted: LogLimit::new(),
            source: source.to_owned(),
            options,
        })
    }

    /// Writes down in `files` what the guest holds, and takes up what a daemon before
    /// this one wrote there. What cannot be found again is stale.
    ///
    /// # Errors
    /// When the files cannot be used, or the directory is another one.
    pub fn keeping(mut self, files: &KeptFiles) -> Result<Self, KeepError> {
        let Kept {
            nodes,
            handles,
            numbers,
        } = Kept::open(files)?;
        let recovered = self.inodes.keep(nodes.0, &nodes.1);
        let recovered = recovered.ok_or(KeepError::Changed)?;
        let (opened, closed) = self.keep_handles(handles.0, &handles.1);
        self.numbers.keep(numbers.0, &numbers.1);
        if recovered.lost + closed > 0 {
            log::warn!(
                "{} files that the guest knows and {closed} that it has open are gone, and stale for it",
                recovered.lost
            );
        }
        log::debug!("Found {} nodes again, opened {opened}", recovered.found);
        Ok(self)
    }

    /// The directory, as it was named.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// How it behaves.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Nodes that the guest holds, the root not counted.
    pub fn held_nodes(&self) -> usize {
        self.inodes.len()
    }

    /// Files and directories that the guest has open.
    pub fn open_handles(&self) -> usize {
        self.handles.len()
    }

    /// Takes charge of a new descriptor.
    fn hold(&self, fd: OwnedFd) -> Result<Held, Errno> {
        Held::new(fd).inspect_err(|_| {
            if let Some(count) = self.exhausted.count() {
                log::warn!(
                    "The guest holds as many files as this process may open ({count}); raise its limit of open files"
                );
            }
        })
    }

    /// Adds a reference of the guest to the node behind `fd`, found under `name` in the
    /// directory `parent`, node `id`.
    fn enter(&self, parent: (u64, &Inode), name: &[u8], fd: OwnedFd) -> Result<Entry, Errno> {
        self.enter_for(Holder::Guest, parent, name, fd)
    }

    /// The same for any holder.
    fn enter_for(
        &self,
        holder: Holder,
        (id, parent): (u64, &Inode),
        name: &[u8],
        fd: OwnedFd,
    ) -> Result<Entry, Errno> {
        let stat = Stat::of(fd.as_fd())?;
        let held = self.hold(fd)?;
        let mut attr = self.attr(&stat)?;
        let node = self.inodes.enter(&stat, held, (id, name), holder)?;
        attr.submount = self.options.announce_submounts
            && stat.is_dir()
            && (stat.dev, stat.mount) != (parent.dev(), parent.mount());
        Ok(Entry {
            node,
            attr,
            timeout: self.options.cache.timeout(),
        })
    }

    /// Attributes as the guest sees them.
    ///
    /// # Errors
    /// `EIO` when there is no inode number for it.
    fn attr(&self, stat: &Stat) -> Result<Attr, Errno> {
        Ok(Attr {
            ino: self.numbers.shown(stat.dev, stat.ino)?,
            ..stat.attr
        })
    }
}
