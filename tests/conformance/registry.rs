//! OCI registries: Debian's docker-registry.

use std::sync::Arc;

use tidegate::backend::registry::credentials::{Credential, Credentials};
use tidegate::backend::registry::{Options, Registry as Backend, Scheme};
use tidegate::backend::{BackendError, Class};

use crate::suite::{self, Blobs, everything, read};
use crate::support::servers::available;
use crate::support::servers::registry::{Access, PROGRAMS, Registry, USER};

const PASSWORD: &str = "correct horse battery";
const REPO: &str = "team/app";

fn options(server: &Registry, credentials: Credentials) -> Options {
    let mut options = Options::new(server.host(), REPO);
    options.scheme = Scheme::Http;
    options.credentials = credentials;
    options
}

fn reader(password: &str) -> Credentials {
    Credentials::given(Credential::Basic {
        user: USER.into(),
        password: password.into(),
    })
}

async fn run(access: Access, credentials: Credentials) -> Registry {
    let blobs = Blobs::new();
    let server = Registry::start(access, PASSWORD).unwrap();
    for blob in blobs.all() {
        server.push(REPO, blob).await.unwrap();
    }
    let backend = Backend::new(&options(&server, credentials)).unwrap();
    suite::run(Arc::new(backend), &blobs, &[PASSWORD]).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn open_registry_conforms() {
    if available(PROGRAMS) {
        run(Access::Open, Credentials::anonymous()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_with_a_password_conforms() {
    if available(PROGRAMS) {
        run(Access::Password, reader(PASSWORD)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_with_tokens_for_all_conforms_with_one_token() {
    if available(PROGRAMS) {
        let server = run(Access::Token, Credentials::anonymous()).await;
        assert_eq!(server.tokens_given(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_with_tokens_for_users_conforms_with_one_token() {
    if available(PROGRAMS) {
        let server = run(Access::TokenForPassword, reader(PASSWORD)).await;
        assert_eq!(server.tokens_given(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_password_is_an_error_that_does_not_show_it() {
    if !available(PROGRAMS) {
        return;
    }
    for access in [Access::Password, Access::TokenForPassword] {
        let server = Registry::start(access, PASSWORD).unwrap();
        let id = server.push(REPO, b"some bytes").await.unwrap();
        let wrong = reader("a wrong password");
        let backend = Backend::new(&options(&server, wrong)).unwrap();
        let error = read(&backend, &id, 0, 4, Class::Demand).await.unwrap_err();
        let text = everything(&error);
        assert!(!error.is_retryable(), "{text}");
        assert!(!text.contains("wrong password"), "{text}");
        assert!(
            matches!(
                error,
                BackendError::Refused { .. } | BackendError::Credentials { .. }
            ),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_password_takes_effect_at_once() {
    if !available(PROGRAMS) {
        return;
    }
    let server = Registry::start(Access::TokenForPassword, PASSWORD).unwrap();
    let id = server.push(REPO, b"some bytes").await.unwrap();
    let credentials = reader("a wrong password");
    let backend = Backend::new(&options(&server, credentials.clone())).unwrap();
    read(&backend, &id, 0, 4, Class::Demand).await.unwrap_err();
    credentials.replace(Some(Credential::Basic {
        user: USER.into(),
        password: PASSWORD.into(),
    }));
    let got = read(&backend, &id, 0, 4, Class::Demand).await.unwrap();
    assert_eq!(got, "some");
}
