//! A proxy that works, fails, refuses and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use ::url::Url;
use tokio::time::sleep;

use super::*;
use crate::backend::error::BackendError;
use crate::backend::testing::{Server, range_of, read_as, read_range, reply};
use crate::backend::{Backend, Class};

const BLOB: &[u8] = b"0123456789abcdef";

/// A proxy, the source behind it and the status that the proxy answers with:
/// with 0 it serves what is asked of it.
struct Scene {
    proxy: Server,
    origin: Server,
    status: Arc<AtomicU16>,
}

impl Scene {
    async fn new(error_type: &'static str) -> Self {
        let status = Arc::new(AtomicU16::new(0));
        let answer = Arc::clone(&status);
        let proxy = Server::start(move |seen| match answer.load(Ordering::Relaxed) {
            status if seen.uri.path() == "/ping" => reply(status.max(200), &[], b""),
            0 => range_of(BLOB, seen),
            status if error_type.is_empty() => reply(status, &[], b""),
            status => reply(status, &[("x-dragonfly-error-type", error_type)], b""),
        })
        .await;
        let origin = Server::start(|seen| range_of(BLOB, seen)).await;
        Self {
            proxy,
            origin,
            status,
        }
    }

    fn proxy_does(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    fn source(&self, change: impl FnOnce(&mut proxy::Options)) -> Http {
        let mut proxy = proxy::Options::new(self.proxy.url.clone());
        change(&mut proxy);
        let options = Options {
            addr: self.origin.at("/"),
            path: String::new(),
            transport: Transport {
                proxy: Some(proxy),
                ..Transport::default()
            },
        };
        Http::new(&options).unwrap()
    }

    /// Requests for blobs to the proxy, and to the source itself.
    fn asked(&self) -> (usize, usize) {
        let seen = self.proxy.seen();
        let blobs = seen.iter().filter(|seen| seen.uri.path() != "/ping");
        (blobs.count(), self.origin.seen().len())
    }

    fn pings(&self) -> usize {
        self.proxy.seen().len() - self.asked().0
    }

    /// Lets the proxy answer `count` more pings.
    async fn pinged(&self, count: usize) {
        let wanted = self.pings() + count;
        while self.pings() < wanted {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn read(source: &Http) {
    assert_eq!(read_range(source, 3, 4).await.unwrap(), b"3456");
}

#[tokio::test]
async fn requests_go_through_the_proxy_with_their_priority() {
    let scene = Scene::new("").await;
    let source = scene.source(|_| {});
    read(&source).await;
    read_as(&source, 3, 4, Class::Prefetch).await.unwrap();
    assert_eq!(scene.asked(), (2, 0));
    let seen = scene.proxy.seen();
    assert_eq!(
        seen[0].uri.authority().unwrap().as_str(),
        scene.origin.host()
    );
    assert_eq!(seen[0].header("x-dragonfly-priority"), "6");
    assert_eq!(seen[1].header("x-dragonfly-priority"), "3");
    assert_eq!(seen[1].header("x-dragonfly-prefetch"), "true");
}

#[tokio::test]
async fn the_proxy_can_be_asked_for_http_in_place_of_https() {
    let scene = Scene::new("").await;
    let mut proxy = proxy::Options::new(scene.proxy.url.clone());
    proxy.use_http = true;
    let options = Options {
        addr: "https://registry.invalid".into(),
        path: String::new(),
        transport: Transport {
            proxy: Some(proxy),
            ..Transport::default()
        },
    };
    read(&Http::new(&options).unwrap()).await;
    let uri = &scene.proxy.seen()[0].uri;
    assert!(
        uri.to_string().starts_with("http://registry.invalid/"),
        "{uri}"
    );
}

#[tokio::test]
async fn a_failing_proxy_is_passed_by() {
    let scene = Scene::new("").await;
    let source = scene.source(|_| {});
    scene.proxy_does(502);
    read(&source).await;
    assert_eq!(scene.asked(), (1, 1));
    scene.proxy_does(0);
    read(&source).await;
    assert_eq!(scene.asked(), (2, 1));
}

#[tokio::test]
async fn what_the_source_itself_refuses_is_not_asked_twice() {
    let scene = Scene::new("backend").await;
    let source = scene.source(|_| {});
    scene.proxy_does(503);
    let error = read_range(&source, 3, 4).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(scene.asked(), (1, 0));
}

#[tokio::test]
async fn what_the_proxy_refuses_a_prefetch_is_not_asked_of_the_source() {
    let scene = Scene::new("proxy").await;
    let source = scene.source(|_| {});
    scene.proxy_does(429);
    let error = read_as(&source, 3, 4, Class::Prefetch).await.unwrap_err();
    assert!(
        matches!(error, BackendError::Refused { status: 429, .. }),
        "{error}"
    );
    read(&source).await;
    assert_eq!(scene.asked(), (2, 1));
}

#[tokio::test]
async fn a_proxy_that_is_gone_is_left_alone_for_a_while() {
    let scene = Scene::new("").await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr();
    let nobody = format!("http://{}", nobody.unwrap());
    let source = scene.source(|proxy| {
        proxy.url = Url::parse(&nobody).unwrap();
        proxy.check_interval = Duration::from_secs(3600);
    });
    read(&source).await;
    read(&source).await;
    assert_eq!(scene.origin.seen().len(), 2);

    let strict = scene.source(|proxy| {
        proxy.url = Url::parse(&nobody).unwrap();
        proxy.fallback = false;
    });
    for _ in 0..2 {
        let error = read_range(&strict, 3, 4).await.unwrap_err();
        assert!(matches!(error, BackendError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(&nobody), "{error}");
    }
    assert_eq!(scene.origin.seen().len(), 2);
}

#[tokio::test]
async fn a_proxy_that_hangs_costs_a_reader_its_patience_and_no_more() {
    let scene = Scene::new("").await;
    // Accepts, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let source = scene.source(|proxy| {
        proxy.url = Url::parse(&url).unwrap();
        proxy.check_interval = Duration::from_secs(3600);
    });
    let began = std::time::Instant::now();
    read(&source).await;
    assert!(began.elapsed() < Transport::default().timeout);
    let began = std::time::Instant::now();
    read(&source).await;
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_proxy_whose_pings_fail_is_passed_by_until_they_succeed() {
    let scene = Scene::new("").await;
    let ping = scene.proxy.url.join("/ping").unwrap();
    let source = scene.source(|proxy| {
        proxy.ping_url = Some(ping);
        proxy.check_interval = Duration::from_millis(10);
    });
    read(&source).await;
    scene.proxy_does(500);
    // The next may have been answered already, the one after that was not.
    scene.pinged(3).await;
    read(&source).await;
    assert_eq!(scene.asked(), (1, 1));
    scene.proxy_does(0);
    scene.pinged(3).await;
    read(&source).await;
    assert_eq!(scene.asked(), (2, 1));
}

#[tokio::test]
async fn without_fallback_a_proxy_that_is_down_is_an_error() {
    let scene = Scene::new("").await;
    scene.proxy_does(500);
    let ping = scene.proxy.url.join("/ping").unwrap();
    let source = scene.source(|proxy| {
        proxy.ping_url = Some(ping);
        proxy.fallback = false;
        proxy.check_interval = Duration::from_millis(10);
    });
    let error = read_range(&source, 3, 4).await.unwrap_err();
    assert!(
        matches!(error, BackendError::Refused { status: 500, .. }),
        "{error}"
    );
    scene.pinged(3).await;
    let error = read_range(&source, 3, 4).await.unwrap_err();
    assert!(matches!(error, BackendError::ProxyDown { .. }), "{error}");
    assert!(
        error.to_string().contains(&scene.proxy.host()) && error.is_retryable(),
        "{error}"
    );
    assert!(scene.origin.seen().is_empty());
}

#[tokio::test]
async fn pings_pause_when_nobody_asks() {
    let scene = Scene::new("").await;
    let ping = scene.proxy.url.join("/ping").unwrap();
    let source = scene.source(|proxy| {
        proxy.ping_url = Some(ping);
        proxy.check_interval = Duration::from_millis(10);
        proxy.check_pause_elapsed = Duration::from_millis(100);
    });
    read(&source).await;
    scene.pinged(2).await;
    // Pings end when one interval brings none.
    let mut before = 0;
    while scene.pings() > before {
        before = scene.pings();
        sleep(Duration::from_millis(200)).await;
    }
    read(&source).await;
    scene.pinged(2).await;
}

#[tokio::test]
async fn the_proxys_password_is_sent_to_it_alone_and_not_shown() {
    let scene = Scene::new("").await;
    let mut url = scene.proxy.url.clone();
    url.set_username("user").unwrap();
    url.set_password(Some("hunter2")).unwrap();
    let options = proxy::Options::new(url.clone());
    assert!(!format!("{options:?}").contains("hunter2"));
    let source = scene.source(|proxy| proxy.url = url);
    read(&source).await;
    assert_eq!(
        scene.proxy.seen()[0].header("proxy-authorization"),
        "Basic dXNlcjpodW50ZXIy"
    );
    scene.proxy_does(500);
    read(&source).await;
    assert_eq!(scene.origin.seen()[0].header("proxy-authorization"), "");
    assert!(!source.describe().contains("hunter2"));
}
