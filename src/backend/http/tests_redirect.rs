//! What redirects a web server may send.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::backend::error::BackendError;
use crate::backend::testing::{Server, range_of, read_range, reply};

const BLOB: &[u8] = b"0123456789abcdef";

fn source(server: &Server) -> Http {
    let options = Options {
        addr: server.at("/"),
        path: String::new(),
        transport: Transport::default(),
    };
    Http::new(&options).unwrap()
}

#[tokio::test]
async fn several_hops_and_relative_ones_are_followed_and_the_last_is_remembered() {
    let store = Server::start(|seen| match seen.uri.path() {
        "/first" => reply(302, &[("location", "last?sig=s")], b""),
        _ => range_of(BLOB, seen),
    })
    .await;
    let first = store.at("/first");
    let server = Server::start(move |seen| match seen.uri.path() {
        "/moved" => reply(307, &[("location", &first)], b""),
        _ => reply(301, &[("location", "/moved")], b""),
    })
    .await;
    let source = source(&server);
    assert_eq!(read_range(&source, 3, 4).await.unwrap(), b"3456");
    assert_eq!(read_range(&source, 0, 2).await.unwrap(), b"01");
    assert_eq!(server.seen().len(), 2);
    let paths: Vec<String> = store
        .seen()
        .iter()
        .map(|seen| seen.uri.to_string())
        .collect();
    assert_eq!(paths, ["/first", "/last?sig=s", "/last?sig=s"]);
}

#[tokio::test]
async fn a_remembered_redirect_that_is_refused_is_asked_for_anew_once() {
    for status in [400, 401, 403, 404] {
        let expired = Arc::new(AtomicBool::new(false));
        let refuse = Arc::clone(&expired);
        let store = Server::start(move |seen| match refuse.swap(false, Ordering::Relaxed) {
            true => reply(status, &[], b"expired"),
            false => range_of(BLOB, seen),
        })
        .await;
        let location = store.at("/blob");
        let server = Server::start(move |_| reply(307, &[("location", &location)], b"")).await;
        let source = source(&server);
        read_range(&source, 0, 2).await.unwrap();
        expired.store(true, Ordering::Relaxed);
        assert_eq!(read_range(&source, 3, 4).await.unwrap(), b"3456");
        assert_eq!(
            (server.seen().len(), store.seen().len()),
            (2, 3),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_remembered_server_that_fails_is_forgotten() {
    let broken = Arc::new(AtomicBool::new(false));
    let fail = Arc::clone(&broken);
    let store = Server::start(move |seen| match fail.load(Ordering::Relaxed) {
        true => reply(503, &[], b""),
        false => range_of(BLOB, seen),
    })
    .await;
    let location = store.at("/blob");
    let server = Server::start(move |_| reply(307, &[("location", &location)], b"")).await;
    let source = source(&server);
    read_range(&source, 0, 2).await.unwrap();
    broken.store(true, Ordering::Relaxed);
    assert!(read_range(&source, 0, 2).await.unwrap_err().is_retryable());
    broken.store(false, Ordering::Relaxed);
    read_range(&source, 0, 2).await.unwrap();
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn redirects_that_lead_nowhere_are_errors() {
    for location in [Some("/"), Some("ftp://host/blob"), None] {
        let headers: Vec<_> = location.iter().map(|to| ("location", *to)).collect();
        let server = Server::start(move |_| reply(302, &headers, b"")).await;
        let error = read_range(&source(&server), 0, 1).await.unwrap_err();
        assert!(matches!(error, BackendError::Redirect { .. }), "{error}");
        assert!(server.seen().len() <= 11);
    }
}
