//! The servers themselves: that they let in whom they should and nobody else.
//! Without that the suite would prove nothing about authorization.

use reqwest::{Client, StatusCode};

use crate::support::servers::registry::{self, Access, Registry, USER};
use crate::support::servers::{available, nginx, nginx::Nginx};

const PASSWORD: &str = "correct horse";
const REPO: &str = "team/app";

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn registry_without_users_serves_what_was_pushed() {
    if !available(registry::PROGRAMS) {
        return;
    }
    let registry = Registry::start(Access::Open, PASSWORD).unwrap();
    let id = registry.push(REPO, b"some bytes").await.unwrap();
    let url = format!("http://{}/v2/{REPO}/blobs/sha256:{id}", registry.host());
    let got = client().get(url).send().await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), "some bytes");
}

#[tokio::test]
async fn registry_with_a_password_refuses_others() {
    if !available(registry::PROGRAMS) {
        return;
    }
    let registry = Registry::start(Access::Password, PASSWORD).unwrap();
    let id = registry.push(REPO, b"some bytes").await.unwrap();
    let url = format!("http://{}/v2/{REPO}/blobs/sha256:{id}", registry.host());
    let got = client().get(&url).send().await.unwrap();
    assert_eq!(got.status(), StatusCode::UNAUTHORIZED);
    let ask = client().get(&url).basic_auth(USER, Some("wrong"));
    assert_eq!(ask.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let ask = client().get(&url).basic_auth(USER, Some(PASSWORD));
    assert_eq!(ask.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn registry_with_tokens_refuses_others() {
    if !available(registry::PROGRAMS) {
        return;
    }
    let registry = Registry::start(Access::TokenForPassword, PASSWORD).unwrap();
    let id = registry.push(REPO, b"some bytes").await.unwrap();
    let url = format!("http://{}/v2/{REPO}/blobs/sha256:{id}", registry.host());
    let got = client().get(&url).send().await.unwrap();
    assert_eq!(got.status(), StatusCode::UNAUTHORIZED);
    let challenge = got.headers()["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains("repository:team/app:pull"),
        "{challenge}"
    );
    let ask = client().get(&url).bearer_auth("wrong");
    assert_eq!(ask.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn gate_lets_through_only_with_its_header() {
    if !available(nginx::PROGRAMS) {
        return;
    }
    let files = Nginx::files().unwrap();
    let id = files.put("blobs", b"some bytes").unwrap();
    let gate = Nginx::gate(&files.http(), "x-pass", "sesame").unwrap();
    let url = format!("{}/blobs/{id}", gate.http());
    let got = client().get(&url).send().await.unwrap();
    assert_eq!(got.status(), StatusCode::FORBIDDEN);
    let got = client().get(&url).header("x-pass", "sesame").send().await;
    assert_eq!(got.unwrap().bytes().await.unwrap(), "some bytes");
}
