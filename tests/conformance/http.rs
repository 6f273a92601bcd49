//! Plain HTTP and HTTPS: nginx.

use std::sync::Arc;

use tidegate::backend::Class;
use tidegate::backend::http::{Http, Options, Transport};

use crate::suite::{self, Blobs, read};
use crate::support::servers::available;
use crate::support::servers::nginx::{Nginx, PROGRAMS};

fn options(addr: String) -> Options {
    Options {
        addr,
        path: "/some/blobs".into(),
        transport: Transport::default(),
    }
}

fn server(blobs: &Blobs) -> Nginx {
    let server = Nginx::files().unwrap();
    for blob in blobs.all() {
        server.put("some/blobs", blob).unwrap();
    }
    server
}

async fn run(options: &Options, blobs: &Blobs) {
    suite::run(Arc::new(Http::new(options).unwrap()), blobs, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_conforms() {
    if !available(PROGRAMS) {
        return;
    }
    let blobs = Blobs::new();
    let server = server(&blobs);
    run(&options(server.http()), &blobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_over_a_unix_socket_conforms() {
    if !available(PROGRAMS) {
        return;
    }
    let blobs = Blobs::new();
    let server = server(&blobs);
    run(&options(server.socket().to_str().unwrap().into()), &blobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn https_with_a_ca_of_its_own_conforms() {
    if !available(PROGRAMS) {
        return;
    }
    let blobs = Blobs::new();
    let server = server(&blobs);
    let mut options = options(server.https());
    options.transport.ca_cert_files = vec![server.ca().into()];
    run(&options, &blobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_of_an_unknown_ca_is_refused() {
    if !available(PROGRAMS) {
        return;
    }
    let server = Nginx::files().unwrap();
    let id = server.put("some/blobs", b"some bytes").unwrap();
    let mut options = options(server.https());
    let backend = Http::new(&options).unwrap();
    let error = read(&backend, &id, 0, 4, Class::Demand).await.unwrap_err();
    let text = suite::everything(&error);
    assert!(text.to_lowercase().contains("certificate"), "{text}");
    options.transport.skip_verify = true;
    let backend = Http::new(&options).unwrap();
    let got = read(&backend, &id, 0, 4, Class::Demand).await.unwrap();
    assert_eq!(got, "some");
}
