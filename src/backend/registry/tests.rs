//! A registry that demands and redirects, and what becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;

use super::credentials::{Credential, Credentials};
use super::*;
use crate::backend::testing::{Reply, Seen, Server, id, range_of, read_range, reply};

const BLOB: &[u8] = b"0123456789abcdef";

/// `Authorization` of the user `user` with the password `hunter2`.
const BASIC: &str = "Basic dXNlcjpodW50ZXIy";

fn user() -> Credentials {
    Credentials::given(Credential::Basic {
        user: "user".into(),
        password: "hunter2".into(),
    })
}

fn source(server: &Server, credentials: Credentials) -> Registry {
    Registry::new(&options(server, credentials)).unwrap()
}

fn options(server: &Server, credentials: Credentials) -> Options {
    let mut options = Options::new(server.host(), "library/python");
    options.scheme = Scheme::Http;
    options.credentials = credentials;
    options
}

/// A registry that wants the password.
async fn basic_registry() -> Server {
    Server::start(|seen| match seen.header("authorization") {
        BASIC => range_of(BLOB, seen),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"r\"")], b""),
    })
    .await
}

/// A registry with its token server at `/token`, which numbers its tokens; the
/// registry accepts the one that `accepted` names, or any if that is 0.
async fn token_registry(
    accepted: Arc<AtomicU32>,
    grant: impl Fn(&Seen, String) -> Reply + Send + Sync + 'static,
) -> Server {
    let issued = AtomicU32::new(0);
    Server::start(move |seen| {
        if seen.uri.path() == "/token" {
            let number = issued.fetch_add(1, Ordering::Relaxed) + 1;
            return grant(seen, format!("t{number}"));
        }
        let wanted = accepted.load(Ordering::Relaxed);
        let given = seen.header("authorization").strip_prefix("Bearer t");
        let number = given.and_then(|number| number.parse::<u32>().ok());
        if number.is_some_and(|number| wanted == 0 || number == wanted) {
            return range_of(BLOB, seen);
        }
        let realm = format!("http://{}/token", seen.header("host"));
        let demand = format!("Bearer realm=\"{realm}\",service=\"reg\"");
        reply(401, &[("www-authenticate", &demand)], b"")
    })
    .await
}

fn granted(token: &str, seconds: u64) -> Reply {
    let body = format!(r#"{{"token":"{token}","expires_in":{seconds}}}"#);
    reply(200, &[], body.as_bytes())
}

fn any() -> Arc<AtomicU32> {
    Arc::new(AtomicU32::new(0))
}

fn tokens(server: &Server) -> Vec<Seen> {
    let mut seen = server.seen();
    seen.retain(|seen| seen.uri.path() == "/token");
    seen
}

#[tokio::test]
async fn an_open_registry_is_read_with_one_request() {
    let server = Server::start(|seen| range_of(BLOB, seen)).await;
    let source = source(&server, Credentials::anonymous());
    assert_eq!(read_range(&source, 3, 4).await.unwrap(), b"3456");
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    let path = format!("/v2/library/python/blobs/sha256:{}", id('a'));
    assert_eq!(seen[0].uri.path(), path);
}

#[tokio::test]
async fn a_password_is_sent_once_it_is_demanded() {
    let server = basic_registry().await;
    let source = source(&server, user());
    for _ in 0..2 {
        assert_eq!(read_range(&source, 3, 4).await.unwrap(), b"3456");
    }
    let sent: Vec<String> = server
        .seen()
        .iter()
        .map(|seen| seen.header("authorization").into())
        .collect();
    assert_eq!(sent, ["", BASIC, BASIC]);
}

#[tokio::test]
async fn a_demand_that_cannot_be_met_is_an_error_without_secrets() {
    let server = basic_registry().await;
    let wrong = Credentials::given(Credential::Basic {
        user: "user".into(),
        password: "hunter3".into(),
    });
    for credentials in [
        Credentials::anonymous(),
        Credentials::given(Credential::Identity("hunter3".into())),
        Credentials::given(Credential::Bearer("hunter3".into())),
        wrong,
    ] {
        let source = source(&server, credentials);
        let error = read_range(&source, 0, 1).await.unwrap_err();
        assert!(error.is_denied() && !error.is_retryable(), "{error}");
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("library/python") && !text.contains("hunter3"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_burst_fetches_one_token() {
    let server = token_registry(any(), |_, token| granted(&token, 300)).await;
    let source = source(&server, user());
    let reads = (0..20).map(|offset| read_range(&source, offset % 10, 4));
    for read in join_all(reads).await {
        assert_eq!(read.unwrap().len(), 4);
    }
    let asked = tokens(&server);
    assert_eq!((asked.len(), server.seen().len()), (1, 22));
    assert_eq!(asked[0].header("authorization"), BASIC);
    let query = asked[0].uri.query().unwrap();
    assert_eq!(
        query,
        "service=reg&scope=repository%3Alibrary%2Fpython%3Apull&account=user"
    );
}

#[tokio::test]
async fn an_anonymous_token_is_asked_for_without_a_password() {
    let server = token_registry(any(), |_, token| granted(&token, 300)).await;
    let source = source(&server, Credentials::anonymous());
    read_range(&source, 0, 1).await.unwrap();
    assert_eq!(tokens(&server)[0].header("authorization"), "");
}

#[tokio::test]
async fn an_expired_token_is_renewed_once() {
    let server = token_registry(any(), |_, token| {
        granted(&token, if token == "t1" { 0 } else { 300 })
    })
    .await;
    let source = source(&server, user());
    // The token of the first answer is over when the request is repeated.
    read_range(&source, 0, 1).await.unwrap();
    join_all((0..8).map(|_| read_range(&source, 0, 1))).await;
    assert_eq!(tokens(&server).len(), 2);
}

#[tokio::test]
async fn a_token_is_renewed_in_the_background_before_it_expires() {
    let server = token_registry(any(), |_, token| {
        granted(&token, if token == "t1" { 2 } else { 300 })
    })
    .await;
    let source = source(&server, user());
    read_range(&source, 0, 1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1600)).await;
    read_range(&source, 0, 1).await.unwrap();
    let last = server.seen().pop().unwrap();
    while tokens(&server).len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_ne!(last.header("authorization"), "Bearer t2");
    assert_eq!(tokens(&server).len(), 2);
}

#[tokio::test]
async fn a_token_that_is_refused_early_is_renewed_once() {
    let accepted = any();
    let server = token_registry(Arc::clone(&accepted), |_, token| granted(&token, 300)).await;
    let source = source(&server, user());
    read_range(&source, 0, 1).await.unwrap();
    accepted.store(2, Ordering::Relaxed);
    let reads = join_all((0..8).map(|_| read_range(&source, 3, 4))).await;
    assert!(reads.into_iter().all(|read| read.unwrap() == b"3456"));
    assert_eq!(tokens(&server).len(), 2);

    accepted.store(99, Ordering::Relaxed);
    let error = read_range(&source, 0, 1).await.unwrap_err();
    assert!(error.is_denied(), "{error}");
    assert_eq!(tokens(&server).len(), 3);
}

#[tokio::test]
async fn a_token_server_that_fails_fails_a_burst_once() {
    let server = token_registry(any(), |_, _| reply(503, &[], b"")).await;
    let source = source(&server, user());
    // The first to come finds out alone.
    assert!(read_range(&source, 0, 1).await.unwrap_err().is_retryable());
    for read in join_all((0..8).map(|_| read_range(&source, 0, 1))).await {
        let error = read.unwrap_err();
        assert!(error.is_retryable() && !error.is_denied(), "{error}");
    }
    assert!(tokens(&server).len() < 5, "{}", tokens(&server).len());
}

#[tokio::test]
async fn tokens_are_posted_for_where_get_is_not_known() {
    let server = token_registry(any(), |seen, token| match seen.method {
        http::Method::POST => granted(&token, 300),
        _ => reply(405, &[], b""),
    })
    .await;
    let source = source(&server, user());
    read_range(&source, 0, 1).await.unwrap();
    let form = tokens(&server).pop().unwrap().body;
    let form = std::str::from_utf8(&form).unwrap();
    for part in [
        "grant_type=password",
        "username=user",
        "password=hunter2",
        "service=reg",
    ] {
        assert!(form.contains(part), "{form}");
    }
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server = token_registry(any(), |_, token| granted(&token, 300)).await;
    let credentials = Credentials::given(Credential::Identity("refresh".into()));
    read_range(&source(&server, credentials), 0, 1)
        .await
        .unwrap();
    let asked = tokens(&server).pop().unwrap();
    assert_eq!(asked.method, http::Method::POST);
    let form = std::str::from_utf8(&asked.body).unwrap();
    assert!(
        form.starts_with("grant_type=refresh_token&refresh_token=refresh"),
        "{form}"
    );
}

#[tokio::test]
async fn a_given_token_is_sent_at_once_and_can_be_replaced() {
    let accepted = Arc::new(AtomicU32::new(7));
    let server = token_registry(Arc::clone(&accepted), |_, _| reply(500, &[], b"")).await;
    let credentials = Credentials::given(Credential::Bearer("t7".into()));
    let source = source(&server, credentials.clone());
    read_range(&source, 0, 1).await.unwrap();
    assert_eq!(server.seen().len(), 1);

    accepted.store(8, Ordering::Relaxed);
    assert!(read_range(&source, 0, 1).await.unwrap_err().is_denied());
    credentials.replace(Some(Credential::Bearer("t8".into())));
    read_range(&source, 0, 1).await.unwrap();
    assert!(tokens(&server).is_empty());
}

#[tokio::test]
async fn replaced_credentials_are_used_from_the_next_request_on() {
    let server = basic_registry().await;
    let credentials = Credentials::anonymous();
    let source = source(&server, credentials.clone());
    assert!(read_range(&source, 0, 1).await.unwrap_err().is_denied());
    credentials.replace(Some(Credential::from_auth("dXNlcjpodW50ZXIy").unwrap()));
    read_range(&source, 0, 1).await.unwrap();
}

#[tokio::test]
async fn docker_configuration_is_looked_up_when_it_is_needed() {
    let server = basic_registry().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let source = source(&server, Credentials::docker(file.clone()));
    let error = read_range(&source, 0, 1).await.unwrap_err();
    assert!(error.to_string().contains("config.json"), "{error}");
    let entry = r#"{"auth":"dXNlcjpodW50ZXIy"}"#;
    let config = format!(r#"{{"auths":{{"{}":{entry}}}}}"#, server.host());
    std::fs::write(&file, config).unwrap();
    read_range(&source, 0, 1).await.unwrap();
}

#[tokio::test]
async fn another_host_is_not_told_who_asks() {
    let store = Server::start(|seen| range_of(BLOB, seen)).await;
    let location = store.at("/blob?sig=s");
    let server = Server::start(move |seen| match seen.header("authorization") {
        BASIC if seen.uri.path() == "/here" => reply(302, &[("location", &location)], b""),
        BASIC => reply(307, &[("location", "/here")], b""),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"r\"")], b""),
    })
    .await;
    let mut options = options(&server, user());
    let name = http::header::COOKIE;
    options
        .transport
        .headers
        .set(name, http::HeaderValue::from_static("hunter2"));
    let source = Registry::new(&options).unwrap();
    for _ in 0..2 {
        assert_eq!(read_range(&source, 3, 4).await.unwrap(), b"3456");
    }
    assert_eq!((server.seen().len(), store.seen().len()), (3, 2));
    assert_eq!(server.seen()[2].header("cookie"), "hunter2");
    for seen in store.seen() {
        assert_eq!(
            (seen.header("authorization"), seen.header("cookie")),
            ("", "")
        );
    }
}

#[tokio::test]
async fn redirects_are_rewritten_as_the_options_say() {
    let store = Server::start(|seen| range_of(BLOB, seen)).await;
    let server = Server::start(|_| {
        reply(
            307,
            &[("location", "https://cdn.invalid:9/blob?sig=s")],
            b"",
        )
    })
    .await;
    let mut options = options(&server, Credentials::anonymous());
    options.blob_url_scheme = Some(Scheme::Http);
    options.blob_redirected_host = Some(store.host());
    let source = Registry::new(&options).unwrap();
    assert_eq!(read_range(&source, 3, 4).await.unwrap(), b"3456");
    assert_eq!(store.seen()[0].uri.to_string(), "/blob?sig=s");
}

#[tokio::test]
async fn the_registrys_own_code_is_part_of_the_error() {
    let body = br#"{"errors":[{"code":"BLOB_UNKNOWN","message":"hunter2"}]}"#;
    let server = Server::start(|_| reply(404, &[], body)).await;
    let error = read_range(&source(&server, user()), 0, 1)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("(BLOB_UNKNOWN)") && !text.contains("hunter2"),
        "{text}"
    );
    assert!(error.is_missing());
}

#[tokio::test]
async fn a_registry_that_hangs_at_first_does_not_hold_up_the_rest() {
    let hang = AtomicBool::new(true);
    let server = Server::start(move |seen| match hang.swap(false, Ordering::Relaxed) {
        true => Reply::Hang,
        false => range_of(BLOB, seen),
    })
    .await;
    let source = source(&server, Credentials::anonymous());
    let hung = read_range(&source, 0, 1);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), hung)
            .await
            .is_err()
    );
    read_range(&source, 0, 1).await.unwrap();
}

#[tokio::test]
async fn a_password_does_not_leave_a_tls_registry_in_the_clear() {
    let client = Arc::new(Client::new("r", &crate::backend::http::Transport::default()).unwrap());
    let home = Url::parse("https://registry.invalid/").unwrap();
    let auth = Auth::new("r", home, "a/b", client, user(), Grants::default());
    let auth = Arc::new(auth);
    let demand = "Bearer realm=\"http://auth.invalid/\"";
    let demand = http::HeaderValue::from_static(demand);
    let headers = http::HeaderMap::from_iter([(http::header::WWW_AUTHENTICATE, demand)]);
    let (_, stamp) = auth.header().await.unwrap();
    let error = auth.challenged(&headers, stamp).await.unwrap_err();
    assert!(error.to_string().contains("without TLS"), "{error}");
}

#[test]
fn names_that_are_none_are_refused() {
    for (host, repo) in [
        ("", "a"),
        ("user:pw@host", "a"),
        ("host/path", "a"),
        ("host", ""),
        ("host", "a/../b"),
        ("host", "a?b"),
    ] {
        assert!(
            Registry::new(&Options::new(host, repo)).is_err(),
            "{host} {repo}"
        );
    }
}
