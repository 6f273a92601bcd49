//! Where blobs live.
//!
//! A [`Backend`] reads ranges of blobs by name and trusts nothing: what it
//! returns is proved by `store`. May use: `chunk`. Used by: `store`, `cli`.

pub mod directory;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use bytes::Bytes;

/// A backend's answer that is under way.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// A source of blobs.
pub trait Backend: Send + Sync + 'static {
    /// Reads exactly `len` bytes of blob `id` (64 hexadecimal digits) from
    /// `offset` on. Called inside the runtime of [`crate::runtime`].
    fn read<'a>(&'a self, id: &'a str, offset: u64, len: usize) -> Reply<'a, Bytes>;

    /// What the source is, for messages: a directory, a URL without secrets.
    fn describe(&self) -> String;
}

/// Why a backend could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// Cannot read blob {id} from {source_name} at offset {offset}, {len} bytes.
    #[error("Cannot read blob {id} from {source_name} at offset {offset}, {len} bytes")]
    Io {
        /// The blob.
        id: String,
        /// The source, as [`Backend::describe`] tells it.
        source_name: String,
        /// Offset in the blob.
        offset: u64,
        /// Bytes asked for.
        len: usize,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A blob name that is not 64 hexadecimal digits.
    #[error("Blob name {id:?} is not 64 hexadecimal digits: the image is damaged or hostile")]
    BadId {
        /// The name, as the image tells it.
        id: String,
    },
    /// The file of a blob does not open.
    #[error("Cannot open blob file {}: check that the blob is there and readable", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A blob file ends before the bytes that the image names.
    #[error(
        "Blob file {} ends early: {got} of {wanted} bytes at offset {offset}; restore the blob",
        path.display()
    )]
    Short {
        /// The file.
        path: PathBuf,
        /// Offset in the blob.
        offset: u64,
        /// Bytes asked for.
        wanted: usize,
        /// Bytes there are.
        got: usize,
    },
}
