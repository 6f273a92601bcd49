//! What is written down of a mount.

use serde::{Deserialize, Serialize};

use crate::control::MountRequest;

/// A mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its number in the tree.
    pub(super) number: u32,
    /// Its path there.
    pub(super) path: String,
    /// Whether it is an image; else a directory of the host.
    pub(super) image: bool,
    /// What was asked for; none if the command line did, and will again.
    pub(super) request: Option<Request>,
    /// The root digest that the image had.
    pub(super) root: Option<String>,
    /// SHA-256 of its bootstrap, if it has no root digest.
    pub(super) bootstrap: Option<String>,
}

/// A [`MountRequest`] on disk. Its configuration may hold credentials, which is why
/// the directory is closed to others; it is never shown.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Request {
    fs_type: String,
    source: String,
    config: String,
    prefetch_files: Option<Vec<String>>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.fs_type, self.source)
    }
}

impl From<&MountRequest> for Request {
    fn from(request: &MountRequest) -> Self {
        Self {
            fs_type: request.fs_type.clone(),
            source: request.source.clone(),
            config: request.config.reveal().to_owned(),
            prefetch_files: request.prefetch_files.clone(),
        }
    }
}

impl From<Request> for MountRequest {
    fn from(request: Request) -> Self {
        Self {
            fs_type: request.fs_type,
            source: request.source,
            config: request.config.into(),
            prefetch_files: request.prefetch_files,
        }
    }
}
