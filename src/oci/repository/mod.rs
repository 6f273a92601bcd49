//! A repository of a registry: manifests, blobs, uploads, referrers, as
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md> has
//! them. What fails in passing is tried again.
//!
//! * `fetch`: manifests and blobs, checked against their digests.
//! * `push`: manifests and the list of referrers.
//! * `source`: the same for code that waits.
//! * `upload`: blobs: looked for, mounted, or sent.

mod fetch;
mod push;
mod source;
mod upload;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};

use super::reference::Name;
use crate::backend::http::Transport;
use crate::backend::registry::credentials::Credentials;
use crate::backend::registry::{Grants, Options, Registry, Scheme};
use crate::backend::{Backend, BackendError};
use crate::chunk::{Digest, DigestAlgorithm};

pub use fetch::Fetched;
pub use upload::{Delivery, Payload, Sent};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Longest wait for an answer; registries hash what was uploaded first.
const ANSWER: Duration = Duration::from_secs(60);

/// How often a request is sent again.
const RETRIES: usize = 5;

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// Which registries speak HTTP without TLS.
    pub plain_http: PlainHttp,
    /// Accept any certificate.
    pub skip_verify: bool,
    /// PEM files of certificate authorities that are trusted besides the
    /// system's.
    pub ca_cert_files: Vec<PathBuf>,
    /// Who asks.
    pub credentials: Credentials,
}

/// Which registries speak HTTP without TLS: credentials can be read on the way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum PlainHttp {
    /// None.
    #[default]
    Never,
    /// All.
    Always,
    /// Those with these names.
    For(Vec<String>),
}

impl PlainHttp {
    fn is_for(&self, registry: &str) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::For(names) => names.iter().any(|name| name == registry),
        }
    }
}

/// Why a repository could not give or take something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The registry did not answer, or said no.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// There is no such manifest.
    #[error("There is no image {0}: check the name")]
    Missing(String),
    /// What came is something else.
    #[error(
        "{what} of {place} has digest sha256:{found} and not sha256:{wanted}: the registry's copy is damaged; push it again"
    )]
    Altered {
        /// What it is.
        what: &'static str,
        /// The repository.
        place: String,
        /// What it should be.
        wanted: Digest,
        /// What it is.
        found: Digest,
    },
    /// A piece that is to be held in memory is too long.
    #[error("{what} sha256:{digest} of {place} has {size} bytes, at most {most} are taken")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// The repository.
        place: String,
        /// Its length.
        size: u64,
        /// The limit.
        most: u64,
    },
    /// A list of referrers without the form of one.
    #[error("The list of referrers of {place} cannot be understood")]
    List {
        /// The repository.
        place: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A digest of another algorithm, or none.
    #[error("{text:?} in {place} is no digest of the form sha256:HEX; others are not supported")]
    NoDigest {
        /// The repository.
        place: String,
        /// What stands in its place.
        text: String,
    },
    /// The bytes that came cannot be kept, or those to send cannot be read.
    #[error("Cannot {action} blob sha256:{digest}")]
    File {
        /// What was done.
        action: &'static str,
        /// The blob.
        digest: Digest,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A repository of a registry.
pub struct Repository {
    place: String,
    registry: Arc<Registry>,
}

impl Repository {
    /// The repository of `name`. With `grants` it can be written to.
    ///
    /// # Errors
    /// When a CA file cannot be read.
    pub fn new(name: &Name, access: &Access, grants: Grants) -> Result<Self, RepositoryError> {
        let mut options = Options::new(name.host(), &name.repository);
        options.scheme = match access.plain_http.is_for(&name.registry) {
            true => Scheme::Http,
            false => Scheme::Https,
        };
        options.credentials = access.credentials.clone();
        options.grants = grants;
        options.transport = Transport {
            connect_timeout: CONNECT,
            timeout: ANSWER,
            skip_verify: access.skip_verify,
            ca_cert_files: access.ca_cert_files.clone(),
            ..Transport::default()
        };
        Ok(Self {
            place: name.place(),
            registry: Arc::new(Registry::new(&options)?),
        })
    }

    /// The repository as a source of ranges of blobs.
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.registry) as Arc<dyn Backend>
    }

    /// Registry and repository, as the names of its images begin.
    pub fn name(&self) -> &str {
        &self.place
    }
}

/// Does something until it succeeds, fails for good, or failed too often.
async fn tried<T, F, W>(work: W) -> Result<T, BackendError>
where
    F: Future<Output = Result<T, BackendError>>,
    W: FnMut() -> F,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(10))
        .with_max_times(RETRIES)
        .with_jitter();
    work.retry(pauses)
        .when(BackendError::is_retryable)
        .adjust(|error, pause| pause.map(|pause| error.retry_after().unwrap_or(pause).min(MOST)))
        .notify(|error, pause| {
            let error = crate::backend::error::chain(error);
            log::warn!("{error}; trying again in {:.1} s", pause.as_secs_f32());
        })
        .await
}

/// Longest pause that a registry can ask for.
const MOST: Duration = Duration::from_secs(60);

/// The digest that names `bytes`.
fn sha256(bytes: &[u8]) -> Digest {
    DigestAlgorithm::Sha256.digest(bytes)
}
