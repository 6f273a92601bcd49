//! OSS: a server of ours that checks signatures.

use std::sync::Arc;

use tidegate::backend::http::Transport;
use tidegate::backend::oss::{self, Credentials, Options, Style};
use tidegate::backend::{BackendError, Class};

use crate::suite::{self, Blobs, everything, read};
use crate::support::servers::available;
use crate::support::servers::nginx::{self, Nginx};
use crate::support::servers::oss::{BUCKET, Keys, Oss};

const ID: &str = "LTAIEXAMPLEOFTESTS";
const SECRET: &str = "OtxrzxIsfpFjA7SwPzILwy8Bw21TLhEXAMPLE";
const TOKEN: &str = "CAISEXAMPLEOFATOKEN//////////wEa";

fn options(endpoint: &str) -> Options {
    Options {
        endpoint: endpoint.parse().unwrap(),
        bucket_name: BUCKET.into(),
        object_prefix: String::new(),
        credentials: None,
        style: Style::Path,
        transport: Transport::default(),
    }
}

fn given(id: &str, secret: &str, token: Option<&str>) -> Credentials {
    Credentials {
        access_key_id: id.into(),
        access_key_secret: secret.into(),
        security_token: token.map(Into::into),
    }
}

/// A server that has the blobs below `prefix`.
fn server(keys: Option<Keys>, blobs: &Blobs, prefix: &str) -> Oss {
    let server = Oss::start(keys).unwrap();
    for blob in blobs.all() {
        server.put(prefix, blob);
    }
    server
}

fn demanded(token: Option<&str>) -> Keys {
    Keys {
        id: ID.into(),
        secret: SECRET.into(),
        token: token.map(Into::into),
    }
}

async fn run(options: &Options, blobs: &Blobs) {
    let backend = Arc::new(oss::open(options).unwrap());
    suite::run(backend, blobs, &[ID, SECRET, TOKEN]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oss_with_keys_conforms() {
    let (blobs, prefix) = (Blobs::new(), "team a/images+1/");
    let server = server(Some(demanded(None)), &blobs, prefix);
    let mut options = options(&server.endpoint());
    options.object_prefix = prefix.into();
    options.credentials = Some(given(ID, SECRET, None));
    run(&options, &blobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oss_with_the_bucket_in_the_host_name_conforms() {
    if !available(nginx::PROGRAMS) {
        return;
    }
    let blobs = Blobs::new();
    let server = server(Some(demanded(None)), &blobs, "");
    // Not every resolver knows what is below `localhost`.
    let relay = Nginx::relay(&server.endpoint()).unwrap();
    let mut options = options(&server.endpoint());
    options.transport.unix_socket = Some(relay.socket());
    options.style = Style::VirtualHost;
    options.credentials = Some(given(ID, SECRET, None));
    run(&options, &blobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oss_with_a_security_token_conforms() {
    let blobs = Blobs::new();
    let server = server(Some(demanded(Some(TOKEN))), &blobs, "");
    let mut options = options(&server.endpoint());
    options.credentials = Some(given(ID, SECRET, Some(TOKEN)));
    run(&options, &blobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_oss_conforms() {
    let blobs = Blobs::new();
    let server = server(None, &blobs, "");
    run(&options(&server.endpoint()), &blobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_oss_keys_are_refused_with_the_code_of_the_service() {
    let server = Oss::start(Some(demanded(Some(TOKEN)))).unwrap();
    let id = server.put("", b"some bytes");
    let wrong = [
        (
            Some(given(ID, "not the secret", Some(TOKEN))),
            "SignatureDoesNotMatch",
        ),
        (
            Some(given("not the id", SECRET, Some(TOKEN))),
            "InvalidAccessKeyId",
        ),
        (
            Some(given(ID, SECRET, Some("not the token"))),
            "InvalidSecurityToken",
        ),
        (None, "AccessDenied"),
    ];
    for (credentials, code) in wrong {
        let mut options = options(&server.endpoint());
        options.credentials = credentials;
        let backend = oss::open(&options).unwrap();
        let error = read(&backend, &id, 0, 4, Class::Demand).await.unwrap_err();
        assert!(matches!(error, BackendError::Refused { .. }), "{error:?}");
        let text = everything(&error);
        assert!(text.contains(code), "{code}: {text}");
        for secret in [ID, SECRET, TOKEN, "not the"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
