//! Restores trees from images: as files in a directory, or as a tar archive.
//!
//! May use: `fs`, `image`, `store`. Used by: `cli`.

pub mod archive;
pub mod directory;

use std::io;
use std::path::PathBuf;

use crate::fs::walk::WalkError;

/// Why an image could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// A part of the image cannot be had or proved.
    #[error("Cannot unpack {path}")]
    Image {
        /// Path in the image.
        path: String,
        /// What is wrong.
        #[source]
        source: WalkError,
    },
    /// An entry cannot be made.
    #[error("Cannot make {path} in {}", target.display())]
    Make {
        /// Path in the image.
        path: String,
        /// Where to.
        target: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The target is not empty.
    #[error("Directory {} is not empty; name a new or an empty one", target.display())]
    NotEmpty {
        /// The target.
        target: PathBuf,
    },
    /// The archive cannot be written.
    #[error("Cannot write {path} to the archive")]
    Archive {
        /// Path in the image.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
