//! A web server in the test's own process: answers as a closure says and keeps
//! what it was asked.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, Method, Response, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use url::Url;

use super::{Backend, BackendError, BlobRange, Class};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str());
        value.and_then(Result::ok).unwrap_or_default()
    }

    /// First and last byte that were asked for.
    pub(crate) fn range(&self) -> (usize, usize) {
        let ends = self.header("range").strip_prefix("bytes=").unwrap();
        let (first, last) = ends.split_once('-').unwrap();
        (first.parse().unwrap(), last.parse().unwrap())
    }
}

/// What the server does about a request.
pub(crate) enum Reply {
    /// Answers.
    Send(Response<BoxBody<Bytes, Infallible>>),
    /// Never answers.
    Hang,
}

/// An answer with a body.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    parts(status, headers, vec![body.to_vec()], false)
}

/// An answer whose body comes in parts, and then ends or stalls.
pub(crate) fn parts(
    status: u16,
    headers: &[(&str, &str)],
    parts: Vec<Vec<u8>>,
    stalls: bool,
) -> Reply {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    let frames = stream::iter(parts).map(|part| Ok(Frame::data(Bytes::from(part))));
    let body = if stalls {
        BodyExt::boxed(StreamBody::new(frames.chain(stream::pending())))
    } else {
        BodyExt::boxed(StreamBody::new(frames))
    };
    Reply::Send(answer.body(body).unwrap())
}

/// The right answer to a request for a range of `blob`.
pub(crate) fn range_of(blob: &[u8], seen: &Seen) -> Reply {
    let (first, last) = seen.range();
    let content_range = format!("bytes {first}-{last}/{}", blob.len());
    let body = &blob[first..=last];
    let length = body.len().to_string();
    let headers = [
        ("content-range", content_range.as_str()),
        ("content-length", &length),
    ];
    reply(206, &headers, body)
}

/// A server on a port of its own.
pub(crate) struct Server {
    pub(crate) url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts a server that answers as `answer` says.
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&seen), Arc::new(answer));
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                let service = service_fn(move |request| {
                    let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                    async move {
                        let seen = read(request).await;
                        log.lock().push(seen.clone());
                        match answer(&seen) {
                            Reply::Send(response) => Ok::<_, Infallible>(response),
                            Reply::Hang => pending().await,
                        }
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(socket), service));
            }
        });
        let url = Url::parse(&url).unwrap();
        Self {
            url,
            seen,
            accepting,
        }
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Host and port.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.url.port().unwrap())
    }

    /// A URL on it.
    pub(crate) fn at(&self, path: &str) -> String {
        self.url.join(path).unwrap().into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn read(request: http::Request<Incoming>) -> Seen {
    let (head, body) = request.into_parts();
    Seen {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

/// A blob's id.
pub(crate) fn id(digit: char) -> String {
    String::from(digit).repeat(64)
}

/// A range of the blob of digits `a`, for a guest.
pub(crate) async fn read_range(
    backend: &dyn Backend,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, BackendError> {
    read_as(backend, offset, len, Class::Demand).await
}

/// A range of the blob of digits `a`.
pub(crate) async fn read_as(
    backend: &dyn Backend,
    offset: u64,
    len: usize,
    class: Class,
) -> Result<Vec<u8>, BackendError> {
    let id = id('a');
    let range = BlobRange {
        id: &id,
        offset,
        len,
        class,
    };
    let parts: Vec<Bytes> = backend.open(range).await?.try_collect().await?;
    Ok(parts.concat())
}
