//! Proofs of single files that are checked without the image
//! (`docs/format.md`, section 6).
//!
//! * [`document`] is the proof as JSON, over the words of `text`.
//! * [`make`] writes the proof of a path of an open image.
//! * [`mod@check`] recomputes the root digest from a proof alone.
//! * [`contents`] compares a file's bytes with what was proved.
//!
//! May use: the rest of `image`, `path_text`. Used by: `cli`.

pub mod check;
pub mod contents;
pub mod document;
pub mod make;
mod text;

use crate::chunk::Digest;
use crate::image::ImageError;

pub use check::{Proved, check};
pub use document::Document;
pub use make::prove;

/// Why a proof cannot be made, or proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// Metadata cannot be read or proved.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The path leads nowhere.
    #[error("There is no {path} in the image (links on the way are not followed)")]
    NotFound {
        /// The path.
        path: String,
    },
    /// The text is no proof.
    #[error("This is no proof that this version of Tidegate reads")]
    Form(#[source] serde_json::Error),
    /// The proof has another version.
    #[error("The proof has version {0}, and this Tidegate reads version 1 only; update Tidegate")]
    Version(u32),
    /// The proof contradicts itself.
    #[error("The proof is wrong at {place}: {reason}")]
    Wrong {
        /// Where in the document.
        place: String,
        /// What does not fit.
        reason: String,
    },
    /// The proof leads to another root.
    #[error(
        "The proof leads to root sha256:{found}, but {by} sha256:{wanted}; the proof was altered, \
         or is one of another image"
    )]
    Root {
        /// The recomputed root digest.
        found: Digest,
        /// The one that it must be.
        wanted: Digest,
        /// Who says so.
        by: &'static str,
    },
    /// The bytes are not those of the file.
    #[error("The bytes are not those of {path}: {reason}")]
    Contents {
        /// The path in the image.
        path: String,
        /// Where they differ.
        reason: String,
    },
    /// The bytes cannot be read.
    #[error("Cannot read the bytes to compare")]
    Read(#[source] std::io::Error),
}

/// An error in the document at `place`.
fn wrong(place: impl Into<String>, reason: impl Into<String>) -> WitnessError {
    WitnessError::Wrong {
        place: place.into(),
        reason: reason.into(),
    }
}
