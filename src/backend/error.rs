//! Why a backend could not answer, and what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::http::url::SafeUrl;

/// Why a backend could not answer. Texts name the source and its URL, and hold
/// no secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// Cannot read blob {id} from {source_name} at offset {offset}, {len} bytes.
    #[error("Cannot read blob {id} from {source_name} at offset {offset}, {len} bytes")]
    Io {
        /// The blob.
        id: String,
        /// The source, as [`Backend::describe`](super::Backend::describe) tells it.
        source_name: String,
        /// Offset in the blob.
        offset: u64,
        /// Bytes asked for.
        len: usize,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A blob name that cannot be part of a path or URL.
    #[error("Blob name {id:?} is no name of a blob: the image is damaged or hostile")]
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
    /// A source cannot be set up as its options say.
    #[error("Cannot use {source_name}: {reason}")]
    Setup {
        /// The source.
        source_name: Box<str>,
        /// What is wrong and what to do.
        reason: Box<str>,
    },
    /// The server was not reached, or the connection failed.
    #[error("Cannot reach {at}: check the address, the network and the TLS settings")]
    Unreachable {
        /// The server.
        at: At,
        /// What the HTTP client said, without the URL.
        #[source]
        source: reqwest::Error,
    },
    /// The server took too long.
    #[error("{at} took too long: {stage} after {} s", after.as_secs_f32())]
    TimedOut {
        /// The server.
        at: At,
        /// What was missing.
        stage: Stage,
        /// The limit.
        after: Duration,
    },
    /// The server said no.
    #[error("{at} answered with status {status}{}: {}", explained(explanation), advice(*status))]
    Refused {
        /// The server.
        at: At,
        /// The HTTP status.
        status: u16,
        /// The server's own code for it, such as `AccessDenied`.
        explanation: Option<Box<str>>,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server sent the whole blob, or some other range than asked for.
    #[error("{at} ignored the range of bytes {first}-{last}: use a server that serves ranges")]
    RangeIgnored {
        /// The server.
        at: At,
        /// First byte asked for.
        first: u64,
        /// Last byte asked for.
        last: u64,
    },
    /// The server's answer is about other bytes.
    #[error("{at} announced {got} where bytes {first}-{last} were asked for: restore the blob")]
    WrongRange {
        /// The server.
        at: At,
        /// Its Content-Range or Content-Length.
        got: Box<str>,
        /// First byte asked for.
        first: u64,
        /// Last byte asked for.
        last: u64,
    },
    /// A body ended before the bytes asked for.
    #[error("The answer of {at} broke off after {got} of {wanted} bytes")]
    CutShort {
        /// The server.
        at: At,
        /// Bytes that came.
        got: usize,
        /// Bytes asked for.
        wanted: usize,
        /// What the HTTP client said, if the connection failed.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// A body went on after the bytes asked for.
    #[error("{at} sent more than the {wanted} bytes asked for")]
    TooLong {
        /// The server.
        at: At,
        /// Bytes asked for.
        wanted: usize,
    },
    /// A redirect that cannot be followed.
    #[error("Cannot follow the redirect of {at}: {reason}")]
    Redirect {
        /// Who redirects.
        at: At,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No token, or no credentials to get one.
    #[error("Cannot authenticate to {source_name}: {reason}")]
    Credentials {
        /// The source.
        source_name: Box<str>,
        /// What is wrong and what to do.
        reason: Box<str>,
        /// Whether it may pass, as when a token server is down.
        passing: bool,
    },
    /// The proxy is down and the source may not be asked without it.
    #[error("Proxy {proxy} of {source_name} is down: start it, or allow `fallback`")]
    ProxyDown {
        /// The proxy.
        proxy: SafeUrl,
        /// The source.
        source_name: Box<str>,
    },
    /// There is no source.
    #[error("No source of blobs is configured")]
    NoSource,
}

/// Which source failed, and where.
#[derive(Clone, PartialEq, Eq)]
pub struct At(Box<(std::sync::Arc<str>, SafeUrl)>);

impl At {
    /// A URL that `source_name` sent a request to.
    pub fn new(source_name: &std::sync::Arc<str>, url: &url::Url) -> Self {
        Self(Box::new((source_name.clone(), SafeUrl::from(url))))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.1, self.0.0)
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was missing when time was up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// There was no connection yet.
    Connect,
    /// Nothing had come.
    Answer,
    /// No further bytes came.
    Stall,
    /// Bytes came, but too slowly.
    Whole,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::Answer => "no answer",
            Self::Stall => "no further bytes",
            Self::Whole => "not complete",
        })
    }
}

fn explained(explanation: &Option<Box<str>>) -> String {
    match explanation {
        Some(text) => format!(" ({text})"),
        None => String::new(),
    }
}

/// What a status asks of the one who runs the system.
fn advice(status: u16) -> &'static str {
    match status {
        401 | 407 => "check the credentials",
        403 => "check the credentials and what they are allowed to do",
        404 | 410 => "check the repository or bucket, and that the blob was pushed",
        416 => "the blob is shorter than the image says; push it again",
        429 => "it asks for fewer requests",
        300..=399 => "it redirects where none is expected; check the address",
        400..=499 => "it does not understand the request; check the address",
        _ => "see its log",
    }
}

impl BackendError {
    /// Whether the same request may succeed a moment later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { .. }
            | Self::Short { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::CutShort { .. }
            | Self::TooLong { .. }
            | Self::ProxyDown { .. } => true,
            Self::Refused { status, .. } => match status {
                408 | 425 | 429 => true,
                501 | 505 => false,
                status => *status >= 500,
            },
            Self::BadId { .. }
            | Self::Open { .. }
            | Self::Setup { .. }
            | Self::RangeIgnored { .. }
            | Self::WrongRange { .. }
            | Self::Redirect { .. }
            | Self::NoSource => false,
            Self::Credentials { passing, .. } => *passing,
        }
    }

    /// How long the source asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Io { .. }
            | Self::BadId { .. }
            | Self::Open { .. }
            | Self::Short { .. }
            | Self::Setup { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::RangeIgnored { .. }
            | Self::WrongRange { .. }
            | Self::CutShort { .. }
            | Self::TooLong { .. }
            | Self::Redirect { .. }
            | Self::Credentials { .. }
            | Self::ProxyDown { .. }
            | Self::NoSource => None,
        }
    }

    /// Whether other credentials would help.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 401 | 403 | 407),
            Self::Credentials { passing, .. } => !passing,
            Self::Io { .. }
            | Self::BadId { .. }
            | Self::Open { .. }
            | Self::Short { .. }
            | Self::Setup { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::RangeIgnored { .. }
            | Self::WrongRange { .. }
            | Self::CutShort { .. }
            | Self::TooLong { .. }
            | Self::Redirect { .. }
            | Self::ProxyDown { .. }
            | Self::NoSource => false,
        }
    }

    /// Whether the error speaks against the source, and not about the blob.
    pub fn blames_source(&self) -> bool {
        match self {
            Self::Refused { status, .. } => !matches!(status, 404 | 410 | 416),
            Self::Io { .. }
            | Self::Setup { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::RangeIgnored { .. }
            | Self::WrongRange { .. }
            | Self::CutShort { .. }
            | Self::TooLong { .. }
            | Self::Redirect { .. }
            | Self::Credentials { .. }
            | Self::ProxyDown { .. } => true,
            Self::BadId { .. } | Self::Open { .. } | Self::Short { .. } | Self::NoSource => false,
        }
    }

    /// Whether the source works but does not have the blob.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 404 | 410),
            Self::Open { .. } | Self::BadId { .. } => true,
            Self::Io { .. }
            | Self::Short { .. }
            | Self::Setup { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::RangeIgnored { .. }
            | Self::WrongRange { .. }
            | Self::CutShort { .. }
            | Self::TooLong { .. }
            | Self::Redirect { .. }
            | Self::Credentials { .. }
            | Self::ProxyDown { .. }
            | Self::NoSource => false,
        }
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
