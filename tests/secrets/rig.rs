//! An image at a source, and a daemon that says all it can.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::daemon::{Daemon, WORK};
use crate::support::frontend::Config;
use crate::support::image::{self, Image, noise};
use crate::support::registry::{Registry, Settings};

/// Every path that the API has, and some that it has not.
const PATHS: [&str; 18] = [
    "/metrics",
    "/api/v1/daemon",
    "/api/v1/daemon/events",
    "/api/v1/daemon/backend",
    "/api/v1/daemon/backend?mountpoint=/",
    "/api/v1/metrics",
    "/api/v1/metrics?id=/",
    "/api/v1/metrics/backend",
    "/api/v1/metrics/backend?id=/",
    "/api/v1/metrics/blobcache",
    "/api/v1/metrics/files",
    "/api/v1/metrics/pattern",
    "/api/v1/metrics/inflight",
    "/api/v1/config",
    "/api/v1/config?id=/",
    "/api/v1/tidegate/info",
    "/api/v2/daemon",
    "/nothing",
];

/// Bytes of a file.
const LEN: usize = 200_000;

/// Files: so many that reading the first does not bring the last.
pub(crate) const FILES: usize = 100;

fn name(file: usize) -> String {
    format!("file-{file:03}")
}

pub(crate) struct Rig {
    pub(crate) registry: Registry,
    image: Image,
    home: TempDir,
}

impl Rig {
    pub(crate) fn new(settings: Settings) -> Self {
        let fill = |root: &std::path::Path| {
            (0..FILES)
                .try_for_each(|file| fs::write(root.join(name(file)), noise(file as u64, LEN)))
        };
        let image = image::build(fill, &["--chunk-size", "64KiB"]).unwrap();
        Self {
            registry: Registry::start(&image.blobs(), settings).unwrap(),
            image,
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// The blobs themselves.
    pub(crate) fn blobs(&self) -> Vec<Vec<u8>> {
        let files = fs::read_dir(self.image.blobs()).unwrap();
        files
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect()
    }

    /// A daemon at log level trace, with an API.
    pub(crate) fn serve(&self, config: &Value, variables: &[(&str, &str)]) -> Served {
        let file = self.home.path().join("config.json");
        fs::write(&file, config.to_string()).unwrap();
        let mut line = vec!["env".to_owned()];
        line.extend(
            variables
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        let boot = self.image.bootstrap();
        let rest = [
            env!("CARGO_BIN_EXE_tidegate"),
            "serve",
            "--socket",
            crate::support::daemon::SOCKET,
            "--bootstrap",
            boot.to_str().unwrap(),
            "--config",
            file.to_str().unwrap(),
            "--log-level",
            "trace",
            "--deadline",
            "3",
            "--api-socket",
            &format!("{WORK}/api.sock"),
        ];
        line.extend(rest.map(str::to_owned));
        let daemon = Daemon::command(&line).unwrap();
        Served { daemon }
    }
}

/// A registry in the form of nydusd's configuration.
pub(crate) fn registry_config(registry: &Registry, auth: &str) -> Value {
    let keys = json!({
        "scheme": "http", "host": registry.address().to_string(), "repo": "team/app",
        "auth": auth, "timeout": 1, "connect_timeout": 1,
    });
    json!({
        "device": { "backend": { "type": "registry", "config": keys } },
        "mode": "direct",
    })
}

pub(crate) struct Served {
    daemon: Daemon,
}

impl Served {
    /// Reads these files, all of them successfully or not one.
    pub(crate) fn read(&self, files: &[usize], good: bool) {
        let config = Config {
            timeout: Duration::from_secs(20),
            ..Config::default()
        };
        let mut guest = self.daemon.mount(&config).unwrap();
        for file in files {
            let node = guest.resolve(&name(*file)).unwrap();
            let read = guest.read(node, 0, 0, LEN);
            assert_eq!(read.is_ok(), good, "{file}: {}", self.daemon.complaints());
        }
    }

    fn request(&self, head: &str, body: &str) -> String {
        let socket: PathBuf = self.daemon.work().join("api.sock");
        let mut stream = UnixStream::connect(socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        format!("{head}\n{answer}\n")
    }

    /// What the API answers to a PUT.
    pub(crate) fn put(&self, path: &str, body: &str) -> String {
        self.request(&format!("PUT {path}"), body)
    }

    /// Everything that was printed, and that the API has to say now.
    pub(crate) fn everything(&self) -> String {
        let answers = PATHS.map(|path| self.request(&format!("GET {path}"), ""));
        assert!(answers[0].contains("200 OK"), "{}", answers[0]);
        answers.concat() + &self.printed()
    }

    fn printed(&self) -> String {
        let file = |name| fs::read_to_string(self.daemon.work().join(name)).unwrap();
        file("stdout") + &file("stderr")
    }

    /// Ends the daemon; all that it printed.
    pub(crate) fn end(mut self) -> String {
        self.daemon.terminate(Duration::from_secs(10)).unwrap();
        self.printed()
    }
}
