//! Looking after a cache directory from outside, while daemons use it or not.

mod gc;
mod stat;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::gc::{GcOptions, GcReport};
pub use self::stat::{BlobReport, StatReport};
pub use self::verify::{BadChunk, VerifyReport};

use super::place;
use super::usage::Usage;

/// What can go wrong with a cache directory.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// There is nothing of this version.
    #[error("{} holds no cache of this version: there is no {} in it", path.display(), place::SUBDIRECTORY)]
    None {
        /// The directory that was named.
        path: PathBuf,
    },
    /// Somebody else is evicting all the time.
    #[error("Another process is evicting from {}: try again later", path.display())]
    Busy {
        /// The directory of this version's files.
        path: PathBuf,
    },
    /// The system refused.
    #[error("Cannot {doing} cache {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The directory of this version's files.
        path: PathBuf,
        /// Why it was refused.
        source: io::Error,
    },
}

/// A cache directory that is there.
#[derive(Debug)]
pub struct CacheDirectory {
    dir: PathBuf,
}

impl CacheDirectory {
    /// The cache in `cache`, the directory that daemons are given.
    ///
    /// # Errors
    /// When there is none of this version.
    pub fn open(cache: &Path) -> Result<Self, CacheError> {
        let dir = cache.join(place::SUBDIRECTORY);
        if !dir.is_dir() {
            let path = cache.to_owned();
            return Err(CacheError::None { path });
        }
        Ok(Self { dir })
    }

    /// The directory of this version's files.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    fn usage(&self) -> Result<Usage, CacheError> {
        let opened = Usage::open(&self.dir, Arc::default());
        opened.map_err(self.failed("open the usage file of"))
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> CacheError {
        move |source| CacheError::Io {
            doing,
            path: self.dir.clone(),
            source,
        }
    }
}
