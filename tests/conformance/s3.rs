//! S3: s3s-fs, which checks signatures.

use std::sync::Arc;

use tidegate::backend::http::Transport;
use tidegate::backend::s3::{self, Credentials, Options, Style};
use tidegate::backend::{BackendError, Class};

use crate::suite::{self, Blobs, everything, read};
use crate::support::servers::available;
use crate::support::servers::nginx::{self, Nginx};
use crate::support::servers::s3::{BUCKET, Keys, PROGRAMS, S3};

const ID: &str = "AKIDEXAMPLEOFTESTS";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "FQoGZXIvYXdzEXAMPLEOFATOKEN//////////wEa";
const KEYS: Keys<'_> = Keys {
    id: ID,
    secret: SECRET,
};

fn options(endpoint: &str) -> Options {
    Options {
        endpoint: endpoint.parse().unwrap(),
        region: "eu-central-1".into(),
        bucket_name: BUCKET.into(),
        object_prefix: String::new(),
        credentials: None,
        style: Style::Path,
        transport: Transport::default(),
    }
}

fn keys(id: &str, secret: &str, token: Option<&str>) -> Credentials {
    Credentials {
        access_key_id: id.into(),
        access_key_secret: secret.into(),
        session_token: token.map(Into::into),
    }
}

/// A server that has the blobs below `prefix`.
fn server(keys: Option<Keys<'_>>, blobs: &Blobs, prefix: &str) -> S3 {
    let server = S3::start(keys).unwrap();
    for blob in blobs.all() {
        server.put(prefix, blob).unwrap();
    }
    server
}

async fn run(options: &Options, blobs: &Blobs) {
    let backend = Arc::new(s3::open(options).unwrap());
    suite::run(backend, blobs, &[ID, SECRET, TOKEN]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_with_keys_conforms() {
    if !available(PROGRAMS) {
        return;
    }
    let blobs = Blobs::new();
    let server = server(Some(KEYS), &blobs, "");
    let mut options = options(&server.endpoint());
    options.credentials = Some(keys(ID, SECRET, None));
    run(&options, &blobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_below_a_prefix_conforms() {
    if !available(PROGRAMS) {
        return;
    }
    let (blobs, prefix) = (Blobs::new(), "team a/images+1/");
    let server = server(Some(KEYS), &blobs, prefix);
    let mut options = options(&server.endpoint());
    options.credentials = Some(keys(ID, SECRET, None));
    options.object_prefix = prefix.into();
    run(&options, &blobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_with_the_bucket_in_the_host_name_conforms() {
    if !available(PROGRAMS) || !available(nginx::PROGRAMS) {
        return;
    }
    let blobs = Blobs::new();
    let server = server(Some(KEYS), &blobs, "");
    // Not every resolver knows what is below `localhost`.
    let relay = Nginx::relay(&server.endpoint()).unwrap();
    let mut options = options(&server.endpoint());
    options.transport.unix_socket = Some(relay.socket());
    options.credentials = Some(keys(ID, SECRET, None));
    options.style = Style::VirtualHost;
    run(&options, &blobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_with_a_session_token_conforms() {
    if !available(PROGRAMS) || !available(nginx::PROGRAMS) {
        return;
    }
    let blobs = Blobs::new();
    let server = server(Some(KEYS), &blobs, "");
    // The server checks that the token is what was signed, the gate that it is
    // the right one.
    let gate = Nginx::gate(&server.endpoint(), "x-amz-security-token", TOKEN).unwrap();
    let mut options = options(&gate.http());
    options.credentials = Some(keys(ID, SECRET, Some(TOKEN)));
    run(&options, &blobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_s3_conforms() {
    if !available(PROGRAMS) {
        return;
    }
    let blobs = Blobs::new();
    let server = server(None, &blobs, "");
    run(&options(&server.endpoint()), &blobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_s3_keys_are_refused_with_the_code_of_the_service() {
    if !available(PROGRAMS) {
        return;
    }
    let server = S3::start(Some(KEYS)).unwrap();
    let id = server.put("", b"some bytes").unwrap();
    let wrong = [
        (
            Some(keys(ID, "not the secret", None)),
            "SignatureDoesNotMatch",
        ),
        // AWS itself says InvalidAccessKeyId.
        (Some(keys("not the id", SECRET, None)), "NotSignedUp"),
        (None, "AccessDenied"),
    ];
    for (credentials, code) in wrong {
        let mut options = options(&server.endpoint());
        options.credentials = credentials;
        let backend = s3::open(&options).unwrap();
        let error = read(&backend, &id, 0, 4, Class::Demand).await.unwrap_err();
        assert!(matches!(error, BackendError::Refused { .. }), "{error:?}");
        let text = everything(&error);
        assert!(text.contains(code), "{code}: {text}");
        for secret in [ID, SECRET, "not the"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
