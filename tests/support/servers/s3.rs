//! An S3 server: s3s-fs, which keeps a bucket as a directory and checks SigV4.

use std::fs;
use std::io;
use std::process::Command;

use super::process::{Process, home};
use super::{blob_id, find};

/// What this server needs to be installed.
pub const PROGRAMS: &[&str] = &["s3s-fs"];

/// Name of the bucket.
pub const BUCKET: &str = "images";

/// Keys that requests must be signed with.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    /// Names them.
    pub id: &'a str,
    /// Signs.
    pub secret: &'a str,
}

/// A running server.
#[derive(Debug)]
pub struct S3 {
    process: Process,
}

impl S3 {
    /// Starts one that lets in who signs with these keys; without keys,
    /// everybody who does not sign.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(keys: Option<Keys<'_>>) -> io::Result<Self> {
        let home = home("s3")?;
        fs::create_dir_all(home.path().join("root").join(BUCKET))?;
        let process = Process::start(home, 1, |home, ports| {
            let program = find("s3s-fs").ok_or(io::ErrorKind::NotFound)?;
            let mut command = Command::new(program);
            let port = ports[0].to_string();
            command.args(["--host", "127.0.0.1", "--port", &port]);
            command.args(["--domain", &format!("localhost:{port}")]);
            command.args(["--domain", "localhost"]);
            if let Some(keys) = keys {
                command.args(["--access-key", keys.id, "--secret-key", keys.secret]);
            }
            command.arg(home.join("root"));
            Ok(command)
        })?;
        Ok(Self { process })
    }

    /// The service, `http://localhost:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://localhost:{}", self.process.port(0))
    }

    /// Puts a blob into the bucket, below this prefix; gives back its id.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, prefix: &str, bytes: &[u8]) -> io::Result<String> {
        let id = blob_id(bytes);
        let path = self.process.home().join("root").join(BUCKET);
        let path = path.join(format!("{prefix}{id}"));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, bytes)?;
        Ok(id)
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
