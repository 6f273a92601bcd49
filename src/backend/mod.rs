//! Where blobs live.
//!
//! A [`Backend`] reads ranges of blobs by name and trusts nothing: what it
//! returns is proved by `store`. [`sources`] puts several of them in order.
//! May use: `chunk`. Used by: `store`, `config`, `control`, `cli`.

mod bucket;
pub mod directory;
pub mod error;
pub mod http;
pub mod oss;
pub mod registry;
pub mod s3;
pub mod secret;
pub mod sources;
#[cfg(test)]
pub(crate) mod testing;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, future, stream};

use crate::chunk::is_blob_name;

pub use error::BackendError;

/// Why bytes are asked for: peers and proxies are told, and the scheduler's
/// order follows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Class {
    /// A guest waits for them.
    Demand,
    /// A guest will probably ask for them next.
    Readahead,
    /// They are fetched in the background.
    Prefetch,
}

/// A range of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobRange<'a> {
    /// The blob's name, as [`is_blob_name`] demands.
    pub id: &'a str,
    /// First byte.
    pub offset: u64,
    /// Number of bytes, at least 1.
    pub len: usize,
    /// Why it is asked for.
    pub class: Class,
}

impl<'a> BlobRange<'a> {
    /// The blob's id, fit for being part of a path or URL.
    ///
    /// # Errors
    /// [`BackendError::BadId`] when it is not.
    pub fn checked_id(&self) -> Result<&'a str, BackendError> {
        if is_blob_name(self.id.as_bytes()) {
            return Ok(self.id);
        }
        let id = self.id.to_owned();
        Err(BackendError::BadId { id })
    }
}

/// The bytes of a range as they arrive: exactly as many as were asked for, or
/// an error at the end.
pub type Body = BoxStream<'static, Result<Bytes, BackendError>>;

/// The body of an answer that came in one piece.
pub fn whole(bytes: Bytes) -> Body {
    stream::once(future::ready(Ok(bytes))).boxed()
}

/// A backend's answer that is under way.
pub type Opening<'a> = BoxFuture<'a, Result<Body, BackendError>>;

/// A source of blobs.
pub trait Backend: Send + Sync + 'static {
    /// Asks for a range. The future ends when the source has agreed to deliver
    /// (for HTTP: when status and headers were checked); the bytes follow in
    /// the body. One try: retries are [`sources`]' work. Called inside the
    /// runtime of [`crate::runtime`]; dropping future or body ends the request.
    fn open<'a>(&'a self, range: BlobRange<'a>) -> Opening<'a>;

    /// What the source is, for messages: a directory, a URL without secrets.
    fn describe(&self) -> String;
}
