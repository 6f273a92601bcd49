//! The two runtimes' HTTP clients, byte by byte.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::support::daemon::connect;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// Kata's Go runtime (net/http): mountpoints as they are.
    Go,
    /// Kata's runtime-rs (hyper): lower-case names, percent-encoded mountpoints.
    Rust,
}

pub(crate) const BOTH: [Client; 2] = [Client::Go, Client::Rust];

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The message of an error, as the runtimes read it.
    pub(crate) fn message(&self) -> String {
        let body = self.json();
        assert!(body["code"].is_string(), "{self:?}");
        body["message"].as_str().unwrap().to_owned()
    }
}

impl Client {
    fn mountpoint(self, mountpoint: &str) -> String {
        let shown = match self {
            Self::Go => mountpoint.to_owned(),
            Self::Rust => mountpoint.replace('/', "%2F"),
        };
        format!("/api/v1/mount?mountpoint={shown}")
    }

    fn request(self, method: &str, path: &str, body: Option<&str>) -> Vec<u8> {
        let length = body.map_or(0, str::len);
        let mut text = match (self, body) {
            (Self::Go, Some(_)) => format!(
                "{method} {path} HTTP/1.1\r\nHost: unix\r\nUser-Agent: Go-http-client/1.1\r\n\
                 Content-Length: {length}\r\nContent-Type: application/json\r\n\
                 Accept-Encoding: gzip\r\n\r\n"
            ),
            (Self::Go, None) => format!(
                "{method} {path} HTTP/1.1\r\nHost: unix\r\nUser-Agent: Go-http-client/1.1\r\n\
                 Accept-Encoding: gzip\r\n\r\n"
            ),
            (Self::Rust, Some(_)) => format!(
                "{method} {path} HTTP/1.1\r\ncontent-type: application/json\r\n\
                 host: 2f72756e2f6b617461:0\r\ncontent-length: {length}\r\n\r\n"
            ),
            (Self::Rust, None) => format!(
                "{method} {path} HTTP/1.1\r\ncontent-type: application/json\r\n\
                 host: 2f72756e2f6b617461:0\r\ncontent-length: 0\r\n\r\n"
            ),
        };
        text.push_str(body.unwrap_or_default());
        text.into_bytes()
    }

    /// Asks on a connection of its own, which stays open as long as `Answer`'s
    /// caller likes.
    fn ask(self, socket: &Path, method: &str, path: &str, body: Option<&str>) -> Answer {
        let mut stream = connect(socket).unwrap();
        exchange(&mut stream, &self.request(method, path, body))
    }

    pub(crate) fn daemon(self, socket: &Path) -> Answer {
        self.ask(socket, "GET", "/api/v1/daemon", None)
    }

    pub(crate) fn mount(self, socket: &Path, mountpoint: &str, body: &str) -> Answer {
        self.ask(socket, "POST", &self.mountpoint(mountpoint), Some(body))
    }

    pub(crate) fn remount(self, socket: &Path, mountpoint: &str, body: &str) -> Answer {
        self.ask(socket, "PUT", &self.mountpoint(mountpoint), Some(body))
    }

    pub(crate) fn unmount(self, socket: &Path, mountpoint: &str) -> Answer {
        self.ask(socket, "DELETE", &self.mountpoint(mountpoint), None)
    }
}

/// Any request, on a connection of its own.
pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Answer {
    Client::Go.ask(socket, method, path, Some(body))
}

/// Sends a request and reads the answer; the connection can be used again.
pub(crate) fn exchange(stream: &mut UnixStream, request: &[u8]) -> Answer {
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream.write_all(request).unwrap();
    read_answer(stream)
}

/// Reads the head and as many bytes of body as it says.
pub(crate) fn read_answer(stream: &mut UnixStream) -> Answer {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse::<usize>().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    Answer {
        status,
        head,
        body: String::from_utf8(body).unwrap(),
    }
}
