//! Where blobs live.
//!
//! A [`Backend`] reads ranges of blobs by name and trusts nothing: what it
//! returns is proved by `store`. May use: `chunk`. Used by: `store`, `cli`.

use std::future::Future;
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
}
