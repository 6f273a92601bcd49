//! Why an image cannot be converted.

use std::io;
use std::path::PathBuf;

use crate::backend::BackendError;
use crate::build::bootstrap::BootstrapError;
use crate::build::dict::DictError;
use crate::build::layers::LayerError;
use crate::image::ImageError;
use crate::oci::OciError;
use crate::oci::repository::RepositoryError;
use crate::unpack::UnpackError;

/// Why an image cannot be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The image, or the place that it goes to.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// A registry.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A source of blobs.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A chunk dict.
    #[error(transparent)]
    Dict(#[from] DictError),
    /// The bootstrap that was to be written.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The bootstrap that was read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image's files.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The store of chunks.
    #[error("Cannot read the chunks of {image}")]
    Store {
        /// The image.
        image: String,
        /// What is wrong.
        source: crate::store::StoreError,
    },
    /// The system.
    #[error("Cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What cannot be converted.
    #[error("{what}: {reason}")]
    Unfit {
        /// An image, a manifest or a place.
        what: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A task that ended without its work.
    #[error("An upload ended early")]
    Lost(#[source] tokio::task::JoinError),
}

impl ConvertError {
    /// What the system said to `action` on a file.
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(super) fn unfit(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unfit {
            what: what.into(),
            reason: reason.into(),
        }
    }
}
