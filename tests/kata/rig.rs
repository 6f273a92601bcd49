//! A daemon as Kata starts it, and what it is asked to mount.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::clients::{Answer, Client};
use crate::support::daemon::{Daemon, SOCKET, WORK};
use crate::support::image::Image;

/// This build's program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");

/// Where daemons of this rig have their API.
pub(crate) const API: &str = "nydusd-api.sock";

/// The command line of the Rust runtime, with further arguments.
pub(crate) fn line<'a>(api: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut line = vec![PROGRAM, "nydusd", "virtiofs", "--hybrid-mode"];
    line.extend(["--log-level", "info", "--apisock", api, "--sock", SOCKET]);
    line.extend(more);
    line
}

/// Starts a daemon.
pub(crate) fn start(more: &[&str]) -> Daemon {
    let socket = format!("{WORK}/{API}");
    let daemon = Daemon::command(&line(&socket, more)).unwrap();
    // It listens a moment before it says so.
    until("the daemon runs", || {
        Client::Go.daemon(&api(&daemon)).json()["state"] == "RUNNING"
    });
    daemon
}

/// Its API.
pub(crate) fn api(daemon: &Daemon) -> PathBuf {
    daemon.work().join(API)
}

/// nydusd's configuration v1 for blobs in a directory.
pub(crate) fn config(image: &Image, cache: &Path) -> Value {
    json!({
        "device": {
            "id": "",
            "backend": {"type": "localfs", "config": {"dir": image.blobs()}},
            "cache": {"type": "blobcache", "config": {"work_dir": cache}},
        },
        "mode": "direct",
        "digest_validate": false,
        "enable_xattr": true,
        "fs_prefetch": {"enable": false},
    })
}

/// The body of a mount.
pub(crate) fn body(bootstrap: &Path, config: &Value) -> String {
    json!({"fs_type": "rafs", "source": bootstrap, "config": config.to_string()}).to_string()
}

/// The body that mounts `image`.
pub(crate) fn image_body(daemon: &Daemon, image: &Image) -> String {
    let config = config(image, &daemon.work().join("cache"));
    body(&image.bootstrap(), &config)
}

/// Mounts `image`, which must succeed.
pub(crate) fn mount(daemon: &Daemon, at: &str, image: &Image) {
    let answer = Client::Go.mount(&api(daemon), at, &image_body(daemon, image));
    assert_done(&answer);
}

/// Success as both runtimes want it: 204, and nothing in it.
pub(crate) fn assert_done(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (204, ""),
        "{answer:?}"
    );
}

/// Number of open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Waits for what happens soon and is no event that can be awaited.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !done() {
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
