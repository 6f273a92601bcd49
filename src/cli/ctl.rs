//! `tidegate ctl`: asks a running daemon.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;

use crate::cli::{Failure, Outcome};
use crate::control::client;

/// Ask a daemon that runs with --api-socket, or change it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The daemon's socket.
    #[arg(long, value_name = "PATH")]
    api_socket: PathBuf,
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// What is served: root, sources, cache, prefetch (JSON).
    Info,
    /// All metrics, as Prometheus reads them.
    Metrics,
    /// The last errors (JSON).
    Events,
    /// Show the credentials' keys, or replace one. Values are read from
    /// standard input, so that they are in no process list.
    Config {
        /// Key whose new value is read from standard input: registry_auth.
        #[arg(long, value_name = "KEY")]
        set: Option<String>,
    },
    /// Change how much is logged.
    LogLevel {
        /// off, error, warn, info, debug or trace.
        level: String,
    },
    /// Mount an image, or a directory of the host, in the daemon's device.
    Mount(ToMount),
    /// Replace what is mounted by another image; what guests have open stays on
    /// the old one.
    Remount(ToMount),
    /// Unmount; done already is as good.
    Umount {
        /// Absolute path in the device.
        mountpoint: String,
    },
    /// End the daemon.
    Exit,
}

#[derive(Debug, Args)]
struct ToMount {
    /// Absolute path in the device.
    mountpoint: String,
    /// The image's metadata; the daemon opens it.
    #[arg(long, value_name = "FILE", required_unless_present = "directory")]
    bootstrap: Option<PathBuf>,
    /// A directory of the daemon's host, for reading and writing, in the place of
    /// an image.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["bootstrap", "prefetch"])]
    directory: Option<PathBuf>,
    /// Configuration that says where the blobs are; it is read here and may hold
    /// `root`, which pins the image. For a directory it says how it is served.
    #[arg(long, value_name = "FILE", required_unless_present = "directory")]
    config: Option<PathBuf>,
    /// File of the image to fetch first; a directory stands for all below it.
    /// May be given several times.
    #[arg(long, value_name = "PATH")]
    prefetch: Vec<String>,
}

impl ToMount {
    /// Where the request goes, and its body.
    fn request(&self) -> Result<(String, serde_json::Value), Failure> {
        let (fs_type, source) = match (&self.directory, &self.bootstrap) {
            (Some(directory), _) => ("passthrough_fs", directory),
            (None, Some(bootstrap)) => ("rafs", bootstrap),
            (None, None) => return Err("--bootstrap or --directory is needed".into()),
        };
        let source = std::path::absolute(source)?;
        let source = source.to_str().ok_or("What to mount is not UTF-8")?;
        let config = self.config.as_deref().map(read_config).transpose()?;
        let files = (!self.prefetch.is_empty()).then_some(&self.prefetch);
        let body = serde_json::json!({
            "fs_type": fs_type,
            "source": source,
            "config": config.unwrap_or_default(),
            "prefetch_files": files,
        });
        Ok((mount_path(&self.mountpoint), body))
    }
}

fn read_config(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    Ok(text.map_err(|error| format!("Cannot read configuration {}: {error}", path.display()))?)
}

fn mount_path(mountpoint: &str) -> String {
    let mountpoint = utf8_percent_encode(mountpoint, NON_ALPHANUMERIC);
    format!("/api/v1/mount?mountpoint={mountpoint}")
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let (method, path, body) = match &arguments.question {
        Question::Info => (Method::GET, "/api/v1/tidegate/info".to_owned(), None),
        Question::Metrics => (Method::GET, "/metrics".to_owned(), None),
        Question::Events => (Method::GET, "/api/v1/daemon/events".to_owned(), None),
        Question::Config { set: None } => (Method::GET, "/api/v1/config".to_owned(), None),
        Question::Config { set: Some(key) } => {
            let value = std::io::read_to_string(std::io::stdin())?;
            let body = serde_json::json!({ key: value.trim_end() });
            (Method::PUT, "/api/v1/config".to_owned(), Some(body))
        }
        Question::LogLevel { level } => {
            let body = serde_json::json!({ "log_level": level });
            (Method::PUT, "/api/v1/daemon".to_owned(), Some(body))
        }
        Question::Mount(mount) => {
            let (path, body) = mount.request()?;
            (Method::POST, path, Some(body))
        }
        Question::Remount(mount) => {
            let (path, body) = mount.request()?;
            (Method::PUT, path, Some(body))
        }
        Question::Umount { mountpoint } => (Method::DELETE, mount_path(mountpoint), None),
        Question::Exit => (Method::PUT, "/api/v1/daemon/exit".to_owned(), None),
    };
    let body = body.map(|body| body.to_string().into_bytes());
    let asked = client::ask(&arguments.api_socket, method, &path, body);
    let text = crate::runtime::handle()?.block_on(asked)?;
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(json) => println!("{}", serde_json::to_string_pretty(&json)?),
        Err(_) => print!("{text}"),
    }
    Ok(Outcome::Done)
}
