//! The daemons that are compared, each started with an empty cache.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::daemon::{Daemon, SOCKET, WORK};
use crate::support::frontend::{Config, Cut};
use crate::support::session::Session;
use crate::world::World;

/// Which daemon, with which settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Side {
    /// nydusd with this `amplify_io`, and `cache.validate` if so.
    Nydusd { amplify: u64, validate: bool },
    /// Tidegate with these options on top, under this name.
    Tidegate { name: String, options: Vec<String> },
}

/// A daemon with its guest and its empty cache.
pub(crate) struct Started {
    // In the order in which they have to go.
    pub(crate) guest: Session,
    pub(crate) daemon: Daemon,
    _files: TempDir,
}

impl Side {
    pub(crate) const AMPLIFYING: Self = Self::Nydusd {
        amplify: 1 << 20,
        validate: false,
    };
    pub(crate) const PLAIN: Self = Self::Nydusd {
        amplify: 0,
        validate: false,
    };

    /// Tidegate as it is.
    pub(crate) fn tidegate() -> Self {
        Self::tidegate_with("tidegate", &[])
    }

    /// Tidegate with options.
    pub(crate) fn tidegate_with(name: &str, options: &[&str]) -> Self {
        Self::Tidegate {
            name: name.to_owned(),
            options: words(options),
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Nydusd { amplify, validate } => {
                let validate = if *validate { ", validate" } else { "" };
                format!("nydusd amplify {}K{validate}", amplify >> 10)
            }
            Self::Tidegate { name, .. } => name.clone(),
        }
    }

    pub(crate) fn is_peer(&self) -> bool {
        matches!(self, Self::Nydusd { .. })
    }

    /// Starts it on an image whose blobs are at `host`.
    pub(crate) fn start(&self, world: &World, host: &str, depth: usize) -> io::Result<Started> {
        let files = tempfile::Builder::new().prefix("cold-start-").tempdir()?;
        let config = files.path().join("config.json");
        fs::write(&config, self.config(host).to_string())?;
        fs::create_dir(files.path().join("cache"))?;
        let line = match self {
            Self::Nydusd { .. } => nydusd_line(world, &config),
            Self::Tidegate { options, .. } => {
                let mut line = tidegate_line(world, &config);
                line.extend(options.iter().cloned());
                line
            }
        };
        let cache = files.path().join("cache").display().to_string();
        let text = fs::read_to_string(&config)?.replace(WORK, &cache);
        fs::write(&config, text)?;
        let daemon = Daemon::command(&line)?;
        let guest = Config {
            believe_headers: true,
            depth: depth.max(2),
            timeout: Duration::from_secs(60),
            cut: Cut::Pages,
            ..Config::default()
        };
        let guest = daemon
            .mount(&guest)
            .map_err(|failure| io::Error::other(format!("{failure}: {}", daemon.complaints())))?;
        Ok(Started {
            guest,
            daemon,
            _files: files,
        })
    }

    /// A configuration that both read: the JSON of nydusd, version 1.
    fn config(&self, host: &str) -> serde_json::Value {
        let (amplify, validate) = match self {
            Self::Nydusd { amplify, validate } => (*amplify, *validate),
            Self::Tidegate { .. } => (1 << 20, false),
        };
        json!({
            "device": {
                "backend": { "type": "registry", "config": {
                    "scheme": "http", "host": host, "repo": "cold/start",
                    "timeout": 60, "connect_timeout": 5, "retry_limit": 2,
                }},
                "cache": { "type": "blobcache", "validate": validate,
                           "config": { "work_dir": WORK } },
            },
            "mode": "direct", "digest_validate": false, "iostats_files": false,
            "amplify_io": amplify, "fs_prefetch": { "enable": false },
        })
    }
}

fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(ToString::to_string).collect()
}

fn nydusd_line(world: &World, config: &Path) -> Vec<String> {
    let nydusd = world.peers.join("nydusd");
    words(&[
        &nydusd.to_string_lossy(),
        "virtiofs",
        "--sock",
        SOCKET,
        "--bootstrap",
        &world.bootstrap.to_string_lossy(),
        "--config",
        &config.to_string_lossy(),
        "--rlimit-nofile",
        "0",
        "--log-level",
        "error",
    ])
}

fn tidegate_line(world: &World, config: &Path) -> Vec<String> {
    words(&[
        env!("CARGO_BIN_EXE_tidegate"),
        "serve",
        "--socket",
        SOCKET,
        "--bootstrap",
        &world.bootstrap.to_string_lossy(),
        "--config",
        &config.to_string_lossy(),
    ])
}
