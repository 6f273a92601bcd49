//! The registry, in a process of its own: this program started again with
//! `--registry DIR`.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::registry::{Counts, Registry, Settings};

/// A running registry.
pub(crate) struct Source {
    child: Child,
    /// `127.0.0.1:port`.
    pub(crate) host: String,
}

/// What the child does.
pub(crate) fn serve(directory: &Path) -> io::Result<()> {
    let registry = Registry::start(directory, Settings::default())?;
    let mut out = io::stdout();
    writeln!(out, "{}", registry.address())?;
    out.flush()?;
    registry.serve_for_ever();
    Ok(())
}

impl Source {
    pub(crate) fn start(blobs: &Path) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--registry")
            .arg(blobs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let host = line.trim().to_owned();
        Ok(Self { child, host })
    }

    /// New settings, and everything counted from 0.
    pub(crate) fn set(&self, settings: &Settings) -> io::Result<()> {
        let body = serde_json::to_string(settings).map_err(io::Error::other)?;
        self.ask("PUT", "/_control", &body)?;
        self.ask("POST", "/_reset", "").map(drop)
    }

    pub(crate) fn counts(&self) -> io::Result<Counts> {
        serde_json::from_str(&self.ask("GET", "/_counts", "")?).map_err(io::Error::other)
    }

    /// Each request with its times, as JSON.
    pub(crate) fn log(&self) -> io::Result<String> {
        self.ask("GET", "/_log", "")
    }

    /// One request and its answer's body.
    fn ask(&self, method: &str, path: &str, body: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(&self.host)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
            _ => Err(io::Error::other(format!("{method} {path}: {answer}"))),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // It is gone already if this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
