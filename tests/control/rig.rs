//! A daemon with an API socket, and a client of a few lines.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::daemon::{Daemon, WORK, connect};
use crate::support::image::Image;

/// Where daemons of this rig have their API.
pub(crate) const API: &str = "api.sock";

/// An answer: status and body.
pub(crate) type Answer = (u16, String);

/// Serves `image` with an API socket in the daemon's directory.
pub(crate) fn serve(image: &Image, arguments: &[&str]) -> Daemon {
    let socket = format!("{WORK}/{API}");
    let mut all = vec!["--api-socket", &socket];
    all.extend(arguments);
    image.serve(&all).unwrap()
}

/// The API socket of such a daemon.
pub(crate) fn socket(daemon: &Daemon) -> PathBuf {
    daemon.work().join(API)
}

/// Sends a request to a Unix socket.
pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = connect(socket).unwrap();
    let length = body.len();
    // Who refuses a long body may hang up before it has read all of it.
    let _ = write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    split(&text)
}

/// Status and body of an answer.
pub(crate) fn split(text: &str) -> Answer {
    let status = text.split(' ').nth(1).unwrap_or_default();
    let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    (status.parse().unwrap(), body.to_owned())
}

/// Asks for JSON.
pub(crate) fn get(daemon: &Daemon, path: &str) -> Value {
    let (status, body) = ask(&socket(daemon), "GET", path, "");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}
