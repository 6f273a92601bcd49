//! `--sandbox`.

use serde_json::Value;

use crate::support::daemon::{Daemon, WORK};
use crate::support::frontend::Config;
use crate::support::image::{self, FILE};
use crate::threads;

/// What the API says of the sandbox.
fn told(daemon: &Daemon) -> Value {
    let socket = daemon.work().join("api.sock");
    let client = reqwest::Client::builder()
        .unix_socket(socket)
        .build()
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let text = runtime.block_on(async {
        let answer = client
            .get("http://localhost/api/v1/tidegate/info")
            .send()
            .await;
        answer.unwrap().text().await.unwrap()
    });
    serde_json::from_str::<Value>(&text).unwrap()["sandbox"].take()
}

fn start(level: &str) -> Daemon {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let image = image::small().unwrap();
    let api = format!("{WORK}/api.sock");
    let daemon = image
        .serve(&["--sandbox", level, "--api-socket", &api])
        .unwrap();
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let node = guest.resolve(FILE).unwrap();
    let handle = guest.open(node).unwrap_or(0);
    assert!(!guest.read(node, handle, 0, 4096).unwrap().is_empty());
    daemon
}

#[test]
fn none_forbids_nothing_and_says_so() {
    let daemon = start("none");
    let told = told(&daemon);
    assert_eq!(told["level"], "none");
    assert_eq!(told["seccomp"], false);
    for thread in threads::of(daemon.pid()) {
        assert!(!thread.filtered, "{thread:?}");
        assert_eq!(thread.capabilities, threads::own(), "{thread:?}");
    }
}

#[test]
fn standard_is_told_by_the_api() {
    let daemon = start("standard");
    let told = told(&daemon);
    assert_eq!(
        (
            &told["level"],
            &told["no_new_privs"],
            &told["seccomp"],
            &told["refused"]
        ),
        (
            &"standard".into(),
            &true.into(),
            &true.into(),
            &"EPERM".into()
        )
    );
    assert_eq!(told["capabilities"]["network"], serde_json::json!([]));
}

#[test]
fn strict_serves_or_says_what_is_missing() {
    let image = image::small().unwrap();
    match image.serve(&["--sandbox", "strict"]) {
        Ok(daemon) => {
            let mut guest = daemon.mount(&Config::default()).unwrap();
            guest.resolve(FILE).unwrap();
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("--sandbox strict: "), "{text}");
            assert!(threads::own() == 0, "{text}");
        }
    }
}
