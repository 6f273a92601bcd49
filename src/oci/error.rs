//! What can be wrong with an OCI image.

use std::io;
use std::path::PathBuf;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// The system refused.
    #[error("Cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A blob cannot be read, or is not what its digest says.
    #[error("Cannot read blob {digest} of {place}")]
    Blob {
        /// Digest of the blob.
        digest: String,
        /// Where it is kept.
        place: String,
        /// What the system said, or what the bytes are.
        source: io::Error,
    },
    /// A document that is no JSON, or lacks what it must have.
    #[error("{what} of {place} cannot be understood")]
    Document {
        /// Which document.
        what: String,
        /// Where it is kept.
        place: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A document that breaks its specification.
    #[error("{what} of {place}: {reason}")]
    Invalid {
        /// Which document.
        what: String,
        /// Where it is kept.
        place: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// No image of that name.
    #[error("{place} has no image {name}; it has {}", list(.available))]
    NotFound {
        /// Where was looked.
        place: String,
        /// The tag or digest that was asked for.
        name: String,
        /// What there is.
        available: Vec<String>,
    },
    /// Several images and no name.
    #[error("{place} has several images; name one of {}", list(.available))]
    Ambiguous {
        /// Where was looked.
        place: String,
        /// What there is.
        available: Vec<String>,
    },
    /// No image for the platform.
    #[error("{place} has no image for {wanted}; it has {}", list(.available))]
    NoPlatform {
        /// Where was looked.
        place: String,
        /// The platform that was asked for.
        wanted: String,
        /// The platforms that there are.
        available: Vec<String>,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}
