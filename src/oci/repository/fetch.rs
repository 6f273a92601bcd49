//! What a repository has.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{RETRIES, Repository, RepositoryError, sha256, tried};
use crate::backend::registry::Exchange;
use crate::backend::{Backend as _, BlobRange, Class};
use crate::chunk::Digest;
use crate::oci::manifest::{Descriptor, media_type};
use crate::oci::reference::Which;

/// Parts of a blob that may wait for whoever takes them.
const AHEAD: usize = 16;

/// What is taken, in the order in which it is liked.
const MANIFESTS: [&str; 4] = [
    media_type::MANIFEST,
    media_type::INDEX,
    media_type::DOCKER_MANIFEST,
    media_type::DOCKER_INDEX,
];

/// Longest manifest that is taken: what registries take.
const MANIFEST_MAX: usize = 4 << 20;

/// A manifest as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its media type, as the registry tells it.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
}

impl Repository {
    /// The manifest or index that `which` leads to, if there is one.
    ///
    /// # Errors
    /// When the registry does not answer, or with other bytes than a digest
    /// names.
    pub async fn manifest(&self, which: &Which) -> Result<Option<Fetched>, RepositoryError> {
        let url = self.registry.url(&format!("manifests/{which}"));
        let mut exchange = Exchange::new(Method::GET, url);
        exchange.answer = MANIFEST_MAX;
        let types = HeaderValue::from_str(&MANIFESTS.join(", "));
        exchange
            .headers
            .extend(types.ok().map(|types| (ACCEPT, types)));
        let called = tried(|| async {
            let called = self.registry.exchange(&exchange).await?;
            match called.status {
                StatusCode::OK => Ok(Some(called)),
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(self.registry.refused(&exchange.url, &called)),
            }
        })
        .await?;
        let Some(called) = called else {
            return Ok(None);
        };
        let digest = sha256(&called.body);
        if let Which::Digest(wanted) = which
            && *wanted != digest
        {
            return Err(self.altered("a manifest", *wanted, digest));
        }
        let kind = called.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok());
        Ok(Some(Fetched {
            bytes: Bytes::copy_from_slice(&called.body),
            media_type: kind.unwrap_or_default().to_owned(),
            digest,
        }))
    }

    /// The length of a blob, if the repository has it.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, RepositoryError> {
        let url = self.registry.url(&format!("blobs/sha256:{digest}"));
        let exchange = Exchange::new(Method::HEAD, url);
        let found = tried(|| async {
            let called = self.registry.exchange(&exchange).await?;
            let length = called.headers.get(CONTENT_LENGTH);
            let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
            match called.status {
                StatusCode::OK => Ok(Some(length.unwrap_or(0))),
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(self.registry.refused(&exchange.url, &called)),
            }
        })
        .await;
        Ok(found?)
    }

    /// A blob of at most `most` bytes.
    ///
    /// # Errors
    /// When it is longer, does not come, or is not what its digest says.
    pub async fn blob(
        &self,
        what: &'static str,
        descriptor: &Descriptor,
        most: u64,
    ) -> Result<Vec<u8>, RepositoryError> {
        if descriptor.size > most {
            return Err(RepositoryError::TooLarge {
                what,
                digest: self.digest(descriptor)?,
                place: self.place.clone(),
                size: descriptor.size,
                most,
            });
        }
        let (sender, mut receiver) = mpsc::channel::<Bytes>(AHEAD);
        let collect = async {
            let mut bytes = Vec::new();
            while let Some(part) = receiver.recv().await {
                bytes.extend_from_slice(&part);
            }
            bytes
        };
        let fetch = async move { self.fetch(what, descriptor, &sender).await };
        let (fetched, bytes) = tokio::join!(fetch, collect);
        fetched.map(|()| bytes)
    }

    /// Hands out a blob in order, part by part. What breaks off goes on where it
    /// stopped. What was handed out is known to be right when this returns;
    /// when nobody takes it any more, that is an end too.
    ///
    /// # Errors
    /// When it does not come, or is not what its digest says.
    pub async fn fetch(
        &self,
        what: &'static str,
        descriptor: &Descriptor,
        sink: &mpsc::Sender<Bytes>,
    ) -> Result<(), RepositoryError> {
        let digest = self.digest(descriptor)?;
        let id = digest.to_string();
        let mut hasher = Sha256::new();
        let (mut got, mut futile) = (0, 0);
        while got < descriptor.size {
            let before = got;
            let range = BlobRange {
                id: &id,
                offset: got,
                len: usize::try_from(descriptor.size - got).unwrap_or(usize::MAX),
                class: Class::Demand,
            };
            let mut body = tried(|| self.registry.open(range)).await?;
            let broken = loop {
                match body.try_next().await {
                    Ok(Some(part)) => {
                        hasher.update(&part);
                        got += u64::try_from(part.len()).unwrap_or(u64::MAX);
                        if sink.send(part).await.is_err() {
                            return Ok(());
                        }
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            futile = if got > before { 0 } else { futile + 1 };
            match broken {
                Some(error) if error.is_retryable() && futile < RETRIES => {
                    let error = crate::backend::error::chain(&error);
                    log::warn!("{error}; going on at byte {got}");
                }
                Some(error) => return Err(error.into()),
                None => {}
            }
        }
        let found = Digest(hasher.finalize().into());
        if found != digest {
            return Err(self.altered(what, digest, found));
        }
        Ok(())
    }

    fn digest(&self, descriptor: &Descriptor) -> Result<Digest, RepositoryError> {
        descriptor
            .sha256()
            .ok_or_else(|| RepositoryError::NoDigest {
                place: self.place.clone(),
                text: descriptor.digest.chars().take(150).collect(),
            })
    }

    fn altered(&self, what: &'static str, wanted: Digest, found: Digest) -> RepositoryError {
        RepositoryError::Altered {
            what,
            place: self.place.clone(),
            wanted,
            found,
        }
    }
}
