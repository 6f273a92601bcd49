//! Blobs that a repository is given: looked for first, mounted from another
//! repository where that is offered, sent otherwise. What broke off goes on
//! where the registry says it stopped.

use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use url::Url;

use super::{RETRIES, Repository, RepositoryError, tried};
use crate::backend::BackendError;
use crate::backend::http::Called;
use crate::backend::registry::{Content, Exchange, Stream};
use crate::chunk::Digest;

/// Longest blob that is sent with the request that ends its upload.
const AT_ONCE: u64 = 1 << 20;

/// Bytes that are read and sent at a time.
const PART: usize = 256 << 10;

/// Where the bytes of a blob are.
#[derive(Clone, Debug)]
pub enum Payload {
    /// In memory.
    Bytes(Bytes),
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        size: u64,
    },
}

/// How a blob came to where it was wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// It was there.
    Present,
    /// Another repository had it.
    Mounted,
    /// It was sent.
    Uploaded,
}

impl Payload {
    /// Number of bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::File { size, .. } => *size,
        }
    }

    async fn read(&self) -> io::Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::File { path, .. } => tokio::fs::read(path).await.map(Bytes::from),
        }
    }

    /// The bytes from `offset` on. `sent` is told how far they were taken.
    fn stream(&self, offset: u64, sent: &Sent) -> Stream {
        let (payload, sent) = (self.clone(), Arc::clone(sent));
        Arc::new(move || match payload.clone() {
            Self::Bytes(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = bytes.slice(from.min(bytes.len())..);
                sent(payload.size());
                stream::once(async { Ok(rest) }).boxed()
            }
            Self::File { path, .. } => {
                let sent = Arc::clone(&sent);
                let opened = async move {
                    let mut file = tokio::fs::File::open(path).await?;
                    file.seek(SeekFrom::Start(offset)).await?;
                    let begin = (file, offset);
                    io::Result::Ok(stream::try_unfold(begin, move |(mut file, at)| {
                        let sent = Arc::clone(&sent);
                        async move {
                            let mut part = BytesMut::with_capacity(PART);
                            let read = file.read_buf(&mut part).await?;
                            let at = at + u64::try_from(read).unwrap_or(u64::MAX);
                            sent(at);
                            Ok((read > 0).then(|| (part.freeze(), (file, at))))
                        }
                    }))
                };
                stream::once(opened).flat_map(flatten).boxed()
            }
        })
    }
}

fn flatten<S>(opened: io::Result<S>) -> stream::BoxStream<'static, io::Result<Bytes>>
where
    S: futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    match opened {
        Ok(parts) => parts.boxed(),
        Err(error) => stream::once(async { Err(error) }).boxed(),
    }
}

/// Is told how many bytes of a blob are on their way; less than before when some
/// have to be sent again.
pub type Sent = Arc<dyn Fn(u64) + Send + Sync>;

impl Repository {
    /// Brings a blob into the repository. `mounts` are other repositories of the
    /// registry that may have it.
    ///
    /// # Errors
    /// When the registry does not take it, or it cannot be read.
    pub async fn upload(
        &self,
        digest: &Digest,
        payload: &Payload,
        mounts: &[String],
        sent: &Sent,
    ) -> Result<Delivery, RepositoryError> {
        if self.blob_size(digest).await?.is_some() {
            return Ok(Delivery::Present);
        }
        let mut session = None;
        for from in mounts {
            match tried(|| self.mount(digest, from)).await? {
                None => return Ok(Delivery::Mounted),
                // Those who cannot mount begin an upload in its place.
                Some(url) => session = Some(url),
            }
        }
        let session = match session {
            Some(session) => session,
            None => tried(|| self.begin()).await?,
        };
        if payload.size() <= AT_ONCE {
            let bytes = payload
                .read()
                .await
                .map_err(|source| unread(digest, source))?;
            self.send_at_once(digest, bytes, session).await?;
        } else {
            self.send(digest, payload, session, sent).await?;
        }
        Ok(Delivery::Uploaded)
    }

    /// Brings a blob of the registry into the repository without sending it.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn mount_only(
        &self,
        digest: &Digest,
        mounts: &[String],
    ) -> Result<Option<Delivery>, RepositoryError> {
        if self.blob_size(digest).await?.is_some() {
            return Ok(Some(Delivery::Present));
        }
        for from in mounts {
            match tried(|| self.mount(digest, from)).await? {
                None => return Ok(Some(Delivery::Mounted)),
                Some(session) => self.cancel(session).await,
            }
        }
        Ok(None)
    }

    /// Mounts a blob; the URL of an upload when the registry does not.
    async fn mount(&self, digest: &Digest, from: &str) -> Result<Option<Url>, BackendError> {
        let mut url = self.registry.url("blobs/uploads/");
        url.query_pairs_mut()
            .append_pair("mount", &format!("sha256:{digest}"))
            .append_pair("from", from);
        let exchange = Exchange::new(Method::POST, url);
        let called = self.registry.exchange(&exchange).await?;
        match called.status {
            StatusCode::CREATED => Ok(None),
            StatusCode::ACCEPTED => self.session(&exchange.url, &called).map(Some),
            // Not allowed to read there: the bytes can still be sent.
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED => {
                self.begin().await.map(Some)
            }
            _ => Err(self.registry.refused(&exchange.url, &called)),
        }
    }

    async fn begin(&self) -> Result<Url, BackendError> {
        let exchange = Exchange::new(Method::POST, self.registry.url("blobs/uploads/"));
        let called = self.registry.exchange(&exchange).await?;
        match called.status {
            StatusCode::ACCEPTED => self.session(&exchange.url, &called),
            _ => Err(self.registry.refused(&exchange.url, &called)),
        }
    }

    /// An upload that will not be used; registries forget those in time too.
    async fn cancel(&self, session: Url) {
        let exchange = Exchange::new(Method::DELETE, session);
        if let Err(error) = self.registry.exchange(&exchange).await {
            log::debug!("An upload was not cancelled: {error}");
        }
    }

    fn session(&self, url: &Url, called: &Called) -> Result<Url, BackendError> {
        self.registry.location(url, &called.headers)
    }

    async fn send_at_once(
        &self,
        digest: &Digest,
        bytes: Bytes,
        session: Url,
    ) -> Result<(), RepositoryError> {
        let mut session = Some(session);
        let work = || {
            let (session, bytes) = (session.take(), bytes.clone());
            async move {
                let session = match session {
                    Some(session) => session,
                    None => self.begin().await?,
                };
                self.finish(digest, session, Content::Bytes(bytes)).await
            }
        };
        Ok(tried(work).await?)
    }

    /// Sends a blob in one request, or in more when one breaks off, and ends the
    /// upload.
    async fn send(
        &self,
        digest: &Digest,
        payload: &Payload,
        session: Url,
        sent: &Sent,
    ) -> Result<(), RepositoryError> {
        let size = payload.size();
        let mut session = session;
        let (mut at, mut futile) = (0, 0);
        loop {
            let broken = match self.append(payload, at, &session, sent).await {
                Ok(next) => match self.finish(digest, next, Content::Nothing).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if !(broken.is_retryable() || is_lost(&broken)) || futile >= RETRIES {
                return Err(broken.into());
            }
            // The end of an upload that got no answer may have done its work.
            if self.blob_size(digest).await? == Some(size) {
                return Ok(());
            }
            let before = at;
            (session, at) = match tried(|| self.progress(&session)).await? {
                Some((url, there)) if there > 0 && there <= size => (url, there),
                _ => (tried(|| self.begin()).await?, 0),
            };
            futile = if at > before { 0 } else { futile + 1 };
            let broken = crate::backend::error::chain(&broken);
            log::warn!("{broken}; the upload of sha256:{digest} goes on at byte {at} of {size}");
        }
    }

    async fn append(
        &self,
        payload: &Payload,
        offset: u64,
        session: &Url,
        sent: &Sent,
    ) -> Result<Url, BackendError> {
        let size = payload.size();
        let mut exchange = Exchange::new(Method::PATCH, session.clone());
        exchange.content = Content::Stream {
            len: size - offset,
            make: payload.stream(offset, sent),
        };
        octets(&mut exchange.headers);
        // Some registries take a range for a piece of many and limit its length.
        if offset > 0 {
            let range = HeaderValue::try_from(format!("{offset}-{}", size.saturating_sub(1)));
            exchange
                .headers
                .extend(range.ok().map(|range| (CONTENT_RANGE, range)));
        }
        let called = self.registry.exchange(&exchange).await?;
        match called.status {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::CREATED => {
                self.session(session, &called)
            }
            _ => Err(self.registry.refused(session, &called)),
        }
    }

    /// Where an upload goes on and how many bytes it has; none if it is gone.
    async fn progress(&self, session: &Url) -> Result<Option<(Url, u64)>, BackendError> {
        let exchange = Exchange::new(Method::GET, session.clone());
        let called = self.registry.exchange(&exchange).await?;
        match called.status {
            StatusCode::NO_CONTENT | StatusCode::ACCEPTED => {
                let next = self.session(session, &called)?;
                Ok(received(&called.headers).map(|there| (next, there)))
            }
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                Ok(None)
            }
            _ => Err(self.registry.refused(session, &called)),
        }
    }

    async fn finish(
        &self,
        digest: &Digest,
        mut session: Url,
        content: Content,
    ) -> Result<(), BackendError> {
        session
            .query_pairs_mut()
            .append_pair("digest", &format!("sha256:{digest}"));
        let mut exchange = Exchange::new(Method::PUT, session);
        exchange.content = content;
        octets(&mut exchange.headers);
        let called = self.registry.exchange(&exchange).await?;
        match called.status {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            _ => Err(self.registry.refused(&exchange.url, &called)),
        }
    }
}

fn octets(headers: &mut HeaderMap) {
    let octets = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, octets);
}

/// Bytes that an upload has: `Range: 0-<last>`, inclusive. Nothing is told as
/// `0-0`, as one byte is: then it is taken for nothing.
fn received(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let (first, last) = range.split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    (first.trim() == "0").then(|| if last == 0 { 0 } else { last.saturating_add(1) })
}

/// Whether the registry does not know the upload any more, or has other bytes of
/// it than were thought.
fn is_lost(error: &BackendError) -> bool {
    match error {
        BackendError::Refused { status, .. } => matches!(status, 404 | 416 | 499),
        _ => false,
    }
}

fn unread(digest: &Digest, source: io::Error) -> RepositoryError {
    RepositoryError::File {
        action: "read",
        digest: *digest,
        source,
    }
}
