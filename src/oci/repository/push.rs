//! Manifests that are pushed, and what refers to them.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};

use super::{Repository, RepositoryError, sha256, tried};
use crate::backend::registry::{Content, Exchange};
use crate::chunk::Digest;
use crate::oci::manifest::{Descriptor, Index, media_type as types};
use crate::oci::reference::Which;

/// Longest list of referrers that is taken.
const REFERRERS_MAX: usize = 4 << 20;

impl Repository {
    /// Pushes a manifest or index under its digest, or under a tag. Its blobs
    /// and manifests must be there before.
    ///
    /// Returns whether the registry has put it into the list of its subject's
    /// referrers.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub async fn put_manifest(
        &self,
        bytes: &[u8],
        media_type: &str,
        tag: Option<&str>,
    ) -> Result<bool, RepositoryError> {
        let which = match tag {
            Some(tag) => Which::Tag(tag.to_owned()),
            None => Which::Digest(sha256(bytes)),
        };
        let url = self.registry.url(&format!("manifests/{which}"));
        let mut exchange = Exchange::new(Method::PUT, url);
        exchange.content = Content::Bytes(Bytes::copy_from_slice(bytes));
        let media_type = HeaderValue::from_str(media_type);
        let media_type = media_type.ok().map(|value| (CONTENT_TYPE, value));
        exchange.headers.extend(media_type);
        let called = tried(|| async {
            let called = self.registry.exchange(&exchange).await?;
            match called.status {
                StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED => Ok(called),
                _ => Err(self.registry.refused(&exchange.url, &called)),
            }
        })
        .await?;
        Ok(called.headers.contains_key("oci-subject"))
    }

    /// Pushes a manifest that has a subject, so that it is found from there:
    /// where the registry keeps no list of referrers, the list under the tag
    /// that the specification names is kept here.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub async fn put_referrer(
        &self,
        bytes: &[u8],
        descriptor: &Descriptor,
        subject: &Digest,
        tag: Option<&str>,
    ) -> Result<(), RepositoryError> {
        let listed = self.put_manifest(bytes, &descriptor.media_type, tag);
        if listed.await? {
            return Ok(());
        }
        let fallback = fallback_tag(subject);
        let mut index = self.fallback_list(&fallback).await?;
        index
            .manifests
            .retain(|known| known.digest != descriptor.digest);
        index.manifests.push(descriptor.clone());
        let bytes = index.to_bytes();
        self.put_manifest(&bytes, types::INDEX, Some(&fallback))
            .await?;
        Ok(())
    }

    /// What refers to a manifest and is of this type.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: &str,
    ) -> Result<Vec<Descriptor>, RepositoryError> {
        let url = self.registry.url(&format!("referrers/{subject}"));
        let mut exchange = Exchange::new(Method::GET, url);
        exchange.answer = REFERRERS_MAX;
        let called = tried(|| async {
            let called = self.registry.exchange(&exchange).await?;
            match called.status {
                StatusCode::OK => Ok(Some(called)),
                // Those that know no such page have words of their own for it.
                status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                    Ok(None)
                }
                _ => Err(self.registry.refused(&exchange.url, &called)),
            }
        });
        let list = match called.await? {
            Some(called) => self.list(&called.body)?,
            None => self.fallback_list(&fallback_tag(subject)).await?,
        };
        let mut found = list.manifests;
        found.retain(|found| found.artifact_type.as_deref() == Some(artifact_type));
        Ok(found)
    }

    async fn fallback_list(&self, tag: &str) -> Result<Index, RepositoryError> {
        match self.manifest(&Which::Tag(tag.to_owned())).await? {
            Some(found) if types::is_manifest(&found.media_type) => {
                // Somebody's image has that tag; it is none of ours.
                Ok(Index::default())
            }
            Some(found) => self.list(&found.bytes),
            None => Ok(Index::default()),
        }
    }

    fn list(&self, bytes: &[u8]) -> Result<Index, RepositoryError> {
        serde_json::from_slice(bytes).map_err(|source| RepositoryError::List {
            place: self.place.clone(),
            source,
        })
    }
}

/// Where the list of referrers is in registries that keep none.
fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{subject}")
}
