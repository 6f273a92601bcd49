//! What a web server may say, and what becomes of it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::backend::error::{BackendError, Stage};
use crate::backend::testing::{
    Reply, Seen, Server, id, parts, range_of, read_as, read_range, reply,
};
use crate::backend::{Backend, Class};

const BLOB: &[u8] = b"0123456789abcdef";

fn quick() -> Transport {
    Transport {
        timeout: Duration::from_millis(200),
        connect_timeout: Duration::from_millis(200),
        ..Transport::default()
    }
}

fn source(server: &Server, transport: Transport) -> Http {
    let options = Options {
        addr: server.at("/"),
        path: "/blobs".into(),
        transport,
    };
    Http::new(&options).unwrap()
}

async fn served(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Server, Http) {
    let server = Server::start(answer).await;
    let source = source(&server, quick());
    (server, source)
}

#[tokio::test]
async fn a_range_is_read_with_one_request() {
    let (server, source) = served(|seen| range_of(BLOB, seen)).await;
    assert_eq!(read_range(&source, 3, 4).await.unwrap(), b"3456");
    let seen = &server.seen()[..];
    let [seen] = seen else { panic!("{seen:?}") };
    assert_eq!(seen.uri.path(), format!("/blobs/{}", id('a')));
    assert_eq!(seen.header("range"), "bytes=3-6");
    assert_eq!(seen.header("accept-encoding"), "identity");
    assert_eq!(seen.header("x-dragonfly-priority"), "");
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_noticed() {
    let (_server, source) = served(|_| reply(200, &[("content-length", "16")], BLOB)).await;
    for (offset, len) in [(3, 4), (0, 4), (1, 16)] {
        let error = read_range(&source, offset, len).await.unwrap_err();
        assert!(
            matches!(error, BackendError::RangeIgnored { .. }),
            "{error}"
        );
        assert!(!error.is_retryable());
    }
    assert_eq!(read_range(&source, 0, 16).await.unwrap(), BLOB);
}

#[tokio::test]
async fn another_range_than_asked_for_is_refused() {
    let wrong: [&[(&str, &str)]; 5] = [
        &[("content-range", "bytes 0-3/16")],
        &[("content-range", "bytes 3-5/16")],
        &[("content-range", "items 3-6/16")],
        &[
            ("content-range", "bytes 3-6/16"),
            ("content-encoding", "gzip"),
        ],
        &[],
    ];
    for headers in wrong {
        let (_server, source) = served(move |_| reply(206, headers, b"3456")).await;
        let error = read_range(&source, 3, 4).await.unwrap_err();
        assert!(matches!(error, BackendError::WrongRange { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_body_of_another_length_is_an_error() {
    let range = ("content-range", "bytes 3-6/16");
    let (_server, source) = served(move |_| parts(206, &[range], vec![b"345".into()], false)).await;
    let error = read_range(&source, 3, 4).await.unwrap_err();
    assert!(
        matches!(
            error,
            BackendError::CutShort {
                got: 3,
                wanted: 4,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.is_retryable());

    let (_server, source) =
        served(move |_| parts(206, &[range], vec![b"345".into(), b"67".into()], false)).await;
    let error = read_range(&source, 3, 4).await.unwrap_err();
    assert!(
        matches!(error, BackendError::TooLong { wanted: 4, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_that_tells_how_much_came() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = socket.read(&mut request).await.unwrap();
        let answer = "HTTP/1.1 206 x\r\nContent-Range: bytes 3-6/16\r\nContent-Length: 4\r\n\r\n34";
        socket.write_all(answer.as_bytes()).await.unwrap();
    });
    let options = Options {
        addr,
        path: String::new(),
        transport: quick(),
    };
    let source = Http::new(&options).unwrap();
    let error = read_range(&source, 3, 4).await.unwrap_err();
    assert!(
        matches!(error, BackendError::CutShort { got: 2, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_hangs_or_stalls_is_given_up() {
    let (_server, source) = served(|_| Reply::Hang).await;
    let error = read_range(&source, 3, 4).await.unwrap_err();
    assert!(
        matches!(
            error,
            BackendError::TimedOut {
                stage: Stage::Answer,
                ..
            }
        ),
        "{error}"
    );

    let range = ("content-range", "bytes 3-6/16");
    let (_server, source) = served(move |_| parts(206, &[range], vec![b"34".into()], true)).await;
    let error = read_range(&source, 3, 4).await.unwrap_err();
    assert!(
        matches!(
            error,
            BackendError::TimedOut {
                stage: Stage::Stall,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_that_names_it() {
    let (server, source) = served(|_| Reply::Hang).await;
    let host = server.host();
    drop(server);
    // The listener is gone when its task has seen that it was aborted.
    let error = loop {
        match read_range(&source, 3, 4).await.unwrap_err() {
            BackendError::TimedOut { .. } => tokio::task::yield_now().await,
            error => break error,
        }
    };
    assert!(matches!(error, BackendError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&host), "{error}");
}

#[tokio::test]
async fn refusals_say_what_to_do_and_whether_to_try_again() {
    for (status, retryable, denied) in [
        (401, false, true),
        (403, false, true),
        (404, false, false),
        (416, false, false),
        (429, true, false),
        (500, true, false),
        (501, false, false),
        (503, true, false),
    ] {
        let (_server, source) = served(move |_| reply(status, &[("retry-after", "3")], b"")).await;
        let error = read_range(&source, 3, 4).await.unwrap_err();
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(error.is_retryable(), retryable, "{error}");
        assert_eq!(error.is_denied(), denied, "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    }
}

#[tokio::test]
async fn what_is_secret_in_a_url_is_in_no_error() {
    let server = Server::start(|_| reply(403, &[], b"")).await;
    let addr = server.at("/").replace("http://", "http://user:hunter2@");
    let options = Options {
        addr: format!("{addr}?sig=hunter3"),
        path: String::new(),
        transport: quick(),
    };
    let source = Http::new(&options).unwrap();
    let refused = read_range(&source, 0, 1).await.unwrap_err();
    assert!(
        server.seen()[0]
            .header("authorization")
            .starts_with("Basic ")
    );
    drop(server);
    let unreachable = read_range(&source, 0, 1).await.unwrap_err();
    for error in [refused, unreachable] {
        let mut text = format!("{error} {error:?} {}", source.describe());
        let mut next: Option<&dyn std::error::Error> = std::error::Error::source(&error);
        while let Some(cause) = next {
            text += &format!("{cause} {cause:?}");
            next = cause.source();
        }
        assert!(!text.contains("hunter"), "{text}");
    }
}

#[tokio::test]
async fn headers_and_priorities_are_sent() {
    let server = Server::start(|seen| range_of(BLOB, seen)).await;
    let mut transport = quick();
    transport.dragonfly = true;
    let name = http::HeaderName::from_static("x-tenant");
    transport
        .headers
        .set(name, http::HeaderValue::from_static("blue"));
    let source = source(&server, transport);
    for class in [Class::Demand, Class::Readahead, Class::Prefetch] {
        read_as(&source, 0, 1, class).await.unwrap();
    }
    let seen = server.seen();
    let told = |name| {
        seen.iter()
            .map(|seen| seen.header(name))
            .collect::<Vec<_>>()
    };
    assert_eq!(told("x-tenant"), ["blue"; 3]);
    assert_eq!(told("x-dragonfly-priority"), ["6", "6", "3"]);
    assert_eq!(told("x-dragonfly-use-p2p"), ["true"; 3]);
    assert_eq!(told("x-dragonfly-prefetch"), ["", "", "true"]);
}

#[tokio::test]
async fn a_unix_socket_is_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let service = hyper::service::service_fn(|request: http::Request<_>| async move {
            let _: hyper::body::Incoming = request.into_body();
            let answer = http::Response::builder()
                .status(206)
                .header("content-range", "bytes 3-6/16");
            let body = http_body_util::Full::new(bytes::Bytes::from_static(b"3456"));
            Ok::<_, std::convert::Infallible>(answer.body(body).unwrap())
        });
        let socket = hyper_util::rt::TokioIo::new(socket);
        let http = hyper::server::conn::http1::Builder::new();
        http.serve_connection(socket, service).await.unwrap();
    });
    let options = Options {
        addr: path.to_str().unwrap().into(),
        path: "x".into(),
        transport: quick(),
    };
    let source = Http::new(&options).unwrap();
    assert_eq!(read_range(&source, 3, 4).await.unwrap(), b"3456");
}

#[tokio::test]
async fn bad_options_are_errors_that_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let not_pem = dir.path().join("ca.pem");
    std::fs::write(&not_pem, "no certificate").unwrap();
    let new = |addr: &str, ca: Option<std::path::PathBuf>| {
        let mut transport = quick();
        transport.ca_cert_files.extend(ca);
        let (addr, path) = (addr.into(), String::new());
        let options = Options {
            addr,
            path,
            transport,
        };
        Http::new(&options).err().unwrap().to_string()
    };
    assert!(new("ftp://host", None).contains("`addr`"));
    assert!(new("relative", None).contains("`addr`"));
    for ca in [not_pem, dir.path().join("missing.pem")] {
        let text = new("http://host", Some(ca.clone()));
        assert!(text.contains(ca.to_str().unwrap()), "{text}");
    }
}
