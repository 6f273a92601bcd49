//! Requests that are about no range of a blob: manifests, uploads, tags.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, LOCATION};
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use super::Registry;
use crate::backend::BackendError;
use crate::backend::http::url::same_origin;
use crate::backend::http::{Allowance, Called};

/// Most redirects of one exchange.
const HOPS: usize = 10;

/// Makes a body anew for each try.
pub type Stream =
    Arc<dyn Fn() -> BoxStream<'static, Result<Bytes, std::io::Error>> + Send + Sync + 'static>;

/// What a request carries.
#[derive(Clone)]
pub enum Content {
    /// Nothing.
    Nothing,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes that are read while they are sent.
    Stream {
        /// Their number.
        len: u64,
        /// Where they come from.
        make: Stream,
    },
}

impl Content {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::Stream { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A request and how much may come back.
#[derive(Clone)]
pub struct Exchange {
    /// What is done.
    pub method: Method,
    /// With what.
    pub url: Url,
    /// Headers besides those that every request has.
    pub headers: HeaderMap,
    /// What is sent.
    pub content: Content,
    /// Most bytes of the answer's body.
    pub answer: usize,
}

impl Exchange {
    /// A request without headers and content, for an answer of up to 64 KiB.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            content: Content::Nothing,
            answer: 64 << 10,
        }
    }
}

impl Registry {
    /// `<scheme>://<host>/v2/<repository>/<rest>`.
    pub fn url(&self, rest: &str) -> Url {
        let mut url = self.base.clone();
        let repository = self.base.path().trim_end_matches("blobs/");
        url.set_path(&format!("{repository}{rest}"));
        url
    }

    /// Sends a request, as who the registry demands, and reads the whole answer,
    /// whatever its status. Redirects of GET and HEAD are followed; what shows
    /// who asks stays with the registry. One try, but for a demand that is met.
    ///
    /// # Errors
    /// When no answer comes or the registry's demand cannot be met.
    pub async fn exchange(&self, exchange: &Exchange) -> Result<Called, BackendError> {
        let mut url = exchange.url.clone();
        let mut demands = 0;
        let mut hops = 0;
        loop {
            let foreign = !same_origin(&url, &self.base);
            let (authorization, stamp) = self.auth.header().await?;
            let authorization = authorization.filter(|_| !foreign);
            let called = self.send(exchange, url.clone(), foreign, authorization);
            let called = called.await?;
            match called.status.as_u16() {
                // Another request may have met another demand meanwhile.
                401 if !foreign && demands < 2 => {
                    demands += 1;
                    self.auth.challenged(&called.headers, stamp).await?;
                }
                301 | 302 | 303 | 307 | 308
                    if matches!(exchange.method, Method::GET | Method::HEAD) =>
                {
                    hops += 1;
                    url = self.redirected(&url, &called.headers, hops)?;
                    self.rewrite(&mut url);
                }
                _ => return Ok(called),
            }
        }
    }

    /// Where an answer says that an upload goes on, resolved against `url`.
    ///
    /// # Errors
    /// When it says nothing of use.
    pub fn location(&self, url: &Url, headers: &HeaderMap) -> Result<Url, BackendError> {
        let bad = |reason| BackendError::Redirect {
            at: self.client.at(url),
            reason,
        };
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| bad("it has no Location"))?;
        match url.join(location) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
            _ => Err(bad("its Location is no HTTP URL")),
        }
    }

    /// The error that an answer with an unwanted status is.
    pub fn refused(&self, url: &Url, called: &Called) -> BackendError {
        let refusal = self.client.refusal(url, called);
        let code = refusal.oci_code();
        refusal.error(code)
    }

    fn redirected(&self, url: &Url, headers: &HeaderMap, hops: usize) -> Result<Url, BackendError> {
        if hops > HOPS {
            return Err(BackendError::Redirect {
                at: self.client.at(url),
                reason: "there are more than 10 in a row",
            });
        }
        self.location(url, headers)
    }

    async fn send(
        &self,
        exchange: &Exchange,
        url: Url,
        foreign: bool,
        authorization: Option<HeaderValue>,
    ) -> Result<Called, BackendError> {
        let allowance = Allowance {
            answer: exchange.answer,
            sent: exchange.content.len(),
        };
        let mut headers = exchange.headers.clone();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        let build = |request: reqwest::RequestBuilder| {
            let request = request.headers(headers);
            match &exchange.content {
                // Some registries insist on a length.
                Content::Nothing if exchange.method == Method::POST => {
                    request.header(CONTENT_LENGTH, 0)
                }
                Content::Nothing => request,
                Content::Bytes(bytes) => request.body(bytes.clone()),
                Content::Stream { len, make } => request
                    .header(CONTENT_LENGTH, *len)
                    .body(reqwest::Body::wrap_stream(make())),
            }
        };
        let method = exchange.method.clone();
        self.client
            .exchange(method, url, foreign, allowance, build)
            .await
    }
}
