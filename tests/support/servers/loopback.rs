//! A small HTTP server in this process, for what no package serves.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::oneshot;

/// An answer with its whole body.
pub type Answer = Response<Full<Bytes>>;

/// A running server; gone when dropped.
#[derive(Debug)]
pub struct Loopback {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Loopback {
    /// Serves what `handle` answers, one request at a time.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub fn start<H>(handle: H) -> io::Result<Self>
    where
        H: Fn(&Request<Bytes>) -> Answer + Send + Sync + 'static,
    {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let handle = Arc::new(handle);
        let thread = thread::Builder::new().name("loopback".into());
        let thread = thread.spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, handle) => {}
                }
            });
        })?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        // A server that has ended by itself has nobody to tell.
        self.stop.take().map(|stop| stop.send(()));
        self.thread.take().map(JoinHandle::join);
    }
}

async fn accept<H>(listener: std::net::TcpListener, handle: Arc<H>)
where
    H: Fn(&Request<Bytes>) -> Answer + Send + Sync + 'static,
{
    // It was bound before, so that this only fails where nothing works.
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        let handle = Arc::clone(&handle);
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let handle = Arc::clone(&handle);
            async move {
                let (head, body) = request.into_parts();
                let answer = match body.collect().await {
                    Ok(body) => handle(&Request::from_parts(head, body.to_bytes())),
                    Err(error) => text(StatusCode::BAD_REQUEST, &error.to_string()),
                };
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        // A client may hang up whenever it likes.
        tokio::spawn(async move { connection.await.ok() });
    }
}

/// An answer in words.
pub fn text(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(Full::from(text.to_owned()));
    *answer.status_mut() = status;
    answer
}

/// What a client sends as Basic authorization: user and password.
pub fn basic<B>(request: &Request<B>) -> Option<(String, String)> {
    use base64::Engine as _;
    let value = request.headers().get("authorization")?.to_str().ok()?;
    let coded = value.strip_prefix("Basic ")?;
    let text = base64::engine::general_purpose::STANDARD
        .decode(coded)
        .ok()?;
    let text = String::from_utf8(text).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The range `bytes=FIRST-LAST` that a request asks for, within `len` bytes;
/// `None` stands for all of them.
///
/// # Errors
/// That the range is not there.
pub fn range<B>(request: &Request<B>, len: usize) -> Result<Option<(usize, usize)>, StatusCode> {
    let Some(value) = request.headers().get("range") else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(|text| {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
    });
    match parsed {
        Some((first, last)) if first <= last && first < len => Ok(Some((first, last.min(len - 1)))),
        _ => Err(StatusCode::RANGE_NOT_SATISFIABLE),
    }
}
