//! Sends requests: through the proxy while it is healthy, else directly.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, timeout};
use url::Url;
use zeroize::Zeroizing;

use super::lane::{Lane, Setup, stays_home};
use super::proxy::Proxy;
use super::{Answer, REFUSAL_BYTES, Refusal, Request, Transport};
use crate::backend::error::{At, Stage};
use crate::backend::{BackendError, BlobRange, Class};

/// How long a proxy may take to answer before the source is asked as well.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most bytes of an answer of [`Client::call`].
const CALL_BYTES: usize = 1 << 20;

/// What an exchange of [`Client::exchange`] may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// Most bytes of the answer's body.
    pub answer: usize,
    /// Bytes that are sent: the slowest pace that they may leave at is
    /// [`SLOWEST`](super::SLOWEST).
    pub sent: u64,
}

/// The HTTP client of one source.
pub struct Client {
    source_name: Arc<str>,
    transport: Transport,
    direct: Lane,
    proxy: Option<Arc<Proxy>>,
}

/// An answer that was read to its end.
pub struct Called {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, which may hold a token.
    pub body: Zeroizing<Vec<u8>>,
}

impl Client {
    /// A client for the source that messages call `source_name`.
    ///
    /// # Errors
    /// When a CA file cannot be read or holds no certificate, or the proxy's URL
    /// makes no sense.
    pub fn new(source_name: &str, transport: &Transport) -> Result<Self, BackendError> {
        let source_name: Arc<str> = source_name.into();
        let mut setup = Setup {
            source_name: Arc::clone(&source_name),
            transport: transport.clone(),
            certificates: Vec::new(),
            proxy: None,
        };
        for file in &transport.ca_cert_files {
            let mut found = certificates(file).map_err(|reason| setup.failed(reason))?;
            setup.certificates.append(&mut found);
        }
        let proxy = match &transport.proxy {
            Some(options) => {
                let mut setup = setup.clone();
                setup.proxy = Some(options.url.clone());
                Some(Arc::new(Proxy::new(options, setup)?))
            }
            None => None,
        };
        Ok(Self {
            source_name,
            transport: transport.clone(),
            direct: Lane::new(setup)?,
            proxy,
        })
    }

    /// Sends a request for `range` and waits for status and headers, which the
    /// caller checks. Redirects are answers like any other.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn ask(
        &self,
        request: Request,
        range: BlobRange<'_>,
    ) -> Result<Answer, BackendError> {
        let Some(proxy) = &self.proxy else {
            return self.send(request, range.class, None).await;
        };
        let (class, direct) = (range.class, request.clone());
        let direct = async { self.send(direct, class, None).await };
        if !proxy.is_healthy() {
            return match proxy.may_fall_back() {
                true => direct.await,
                false => Err(proxy.down(&self.source_name)),
            };
        }
        let mut asking = pin!(self.send(request, class, Some(proxy)));
        if !proxy.may_fall_back() {
            return asking.await;
        }
        // A prefetch waits for a slow proxy; the source is spared.
        let patience = match class {
            Class::Demand | Class::Readahead => PATIENCE,
            Class::Prefetch => Duration::MAX,
        };
        if let Ok(answer) = timeout(patience, &mut asking).await {
            return match proxy.is_at_fault(&answer, class) {
                true => direct.await,
                false => answer,
            };
        }
        match select(asking, pin!(direct)).await {
            Either::Left((answer, direct)) => match proxy.is_at_fault(&answer, class) {
                true => direct.await,
                false => answer,
            },
            Either::Right((Ok(answer), _)) => {
                proxy.is_slow();
                Ok(answer)
            }
            Either::Right((Err(_), asking)) => asking.await,
        }
    }

    async fn send(
        &self,
        request: Request,
        class: Class,
        proxy: Option<&Arc<Proxy>>,
    ) -> Result<Answer, BackendError> {
        let Request {
            url,
            mut headers,
            foreign,
        } = request;
        for (name, value) in self.transport.headers.reveal() {
            if !(foreign && stays_home(name)) {
                headers.insert(name, value.clone());
            }
        }
        if proxy.is_some() || self.transport.dragonfly {
            tell_class(&mut headers, class);
        }
        let asked = Instant::now();
        let (lane, target, peer) = match proxy {
            Some(proxy) => (proxy.lane(), proxy.rewrite(&url), proxy.url()),
            None => (&self.direct, url.clone(), &url),
        };
        let builder = lane.request(Method::GET, target)?.headers(headers);
        let response = self.within_time(peer, builder).await?;
        Ok(Answer {
            source_name: Arc::clone(&self.source_name),
            url,
            response,
            asked,
            timeout: self.transport.timeout,
        })
    }

    /// Sends a request that is about no blob, never through the proxy, and reads
    /// the answer, of at most 1 MiB.
    ///
    /// # Errors
    /// When no answer comes, or one that is too long.
    pub async fn call(
        &self,
        method: Method,
        url: Url,
        build: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Called, BackendError> {
        let allowance = Allowance {
            answer: CALL_BYTES,
            sent: 0,
        };
        let builder = build(self.direct.request(method, url.clone())?);
        self.finish(&url, builder, allowance).await
    }

    /// As [`call`](Self::call), with the headers of the configuration (but those
    /// that stay home, if the URL is `foreign`) and an allowance.
    ///
    /// # Errors
    /// When no answer comes, or one that is too long.
    pub async fn exchange(
        &self,
        method: Method,
        url: Url,
        foreign: bool,
        allowance: Allowance,
        build: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Called, BackendError> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.transport.headers.reveal() {
            if !(foreign && stays_home(name)) {
                headers.insert(name, value.clone());
            }
        }
        let builder = self.direct.request(method, url.clone())?.headers(headers);
        self.finish(&url, build(builder), allowance).await
    }

    async fn finish(
        &self,
        url: &Url,
        builder: reqwest::RequestBuilder,
        allowance: Allowance,
    ) -> Result<Called, BackendError> {
        let pace = Duration::from_secs(allowance.sent / super::SLOWEST);
        let limit = self.transport.timeout.saturating_add(pace);
        let deadline = Instant::now() + limit;
        let mut response = self.within(limit, url, builder).await?;
        let mut body = Zeroizing::new(Vec::with_capacity(4096));
        loop {
            let part = tokio::time::timeout_at(deadline, response.chunk()).await;
            match part.map_err(|_| self.timed_out(url, Stage::Whole))? {
                Ok(Some(part)) => body.extend_from_slice(&part),
                Ok(None) => break,
                Err(error) => return Err(self.failed(url, error)),
            }
            if body.len() > allowance.answer {
                let (at, wanted) = (self.at(url), allowance.answer);
                return Err(BackendError::TooLong { at, wanted });
            }
        }
        Ok(Called {
            status: response.status(),
            headers: response.headers().clone(),
            body,
        })
    }

    /// An answer of this source to a request for `url` that is no success.
    pub fn refusal(&self, url: &Url, called: &Called) -> Refusal {
        let body = called.body.get(..REFUSAL_BYTES).unwrap_or(&called.body);
        Refusal {
            at: self.at(url),
            status: called.status,
            headers: called.headers.clone(),
            body: body.to_vec(),
        }
    }

    /// A URL of this source, for messages.
    pub fn at(&self, url: &Url) -> At {
        At::new(&self.source_name, url)
    }

    async fn within_time(
        &self,
        url: &Url,
        builder: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, BackendError> {
        self.within(self.transport.timeout, url, builder).await
    }

    async fn within(
        &self,
        limit: Duration,
        url: &Url,
        builder: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, BackendError> {
        match timeout(limit, builder.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.failed(url, error)),
            Err(_) => Err(self.timed_out(url, Stage::Answer)),
        }
    }

    fn failed(&self, url: &Url, error: reqwest::Error) -> BackendError {
        if error.is_timeout() {
            return self.timed_out(url, Stage::Connect);
        }
        BackendError::Unreachable {
            at: self.at(url),
            source: error.without_url(),
        }
    }

    fn timed_out(&self, url: &Url, stage: Stage) -> BackendError {
        let after = match stage {
            Stage::Connect => self.transport.connect_timeout,
            Stage::Answer | Stage::Stall | Stage::Whole => self.transport.timeout,
        };
        let at = self.at(url);
        BackendError::TimedOut { at, stage, after }
    }
}

/// Tells a Dragonfly peer how much the request matters.
fn tell_class(headers: &mut HeaderMap, class: Class) {
    let priority = match class {
        Class::Demand | Class::Readahead => "6",
        Class::Prefetch => "3",
    };
    headers.insert("x-dragonfly-priority", HeaderValue::from_static(priority));
    headers.insert("x-dragonfly-use-p2p", HeaderValue::from_static("true"));
    if class == Class::Prefetch {
        headers.insert("x-dragonfly-prefetch", HeaderValue::from_static("true"));
    }
}

/// The certificates of a PEM file.
fn certificates(file: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let name = file.display();
    let pem = std::fs::read(file).map_err(|error| format!("CA file {name}: {error}"))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem);
    let found = found.map_err(|_| format!("CA file {name} is not PEM"))?;
    if found.is_empty() {
        return Err(format!("CA file {name} holds no certificate"));
    }
    Ok(found)
}
