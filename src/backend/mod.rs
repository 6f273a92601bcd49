//! Where blobs live.
//!
//! A [`Backend`] reads ranges of blobs by name and trusts nothing: what it
//! returns is proved by `store`. [`sources`] puts several of them in order.
//! May use: `chunk`. Used by: `store`, `cli`.

pub mod directory;
pub mod oss;
pub mod s3;
pub mod secret;
pub mod sources;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, future, stream};

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
    /// The blob: 64 hexadecimal digits.
    pub id: &'a str,
    /// First byte.
    pub offset: u64,
    /// Number of bytes, at least 1.
    pub len: usize,
    /// Why it is asked for.
    pub class: Class,
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

impl BackendError {
    /// Whether the same request may succeed a moment later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Short { .. } => true,
            Self::BadId { .. } | Self::Open { .. } => false,
        }
    }

    /// How long the source asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Io { .. } | Self::BadId { .. } | Self::Open { .. } | Self::Short { .. } => None,
        }
    }
}
