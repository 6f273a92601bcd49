//! `tidegate ctl`: asks a running daemon.

use std::path::PathBuf;

use clap::{Args, Subcommand};
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
    /// End the daemon.
    Exit,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let (method, path, body) = match &arguments.question {
        Question::Info => (Method::GET, "/api/v1/tidegate/info", None),
        Question::Metrics => (Method::GET, "/metrics", None),
        Question::Events => (Method::GET, "/api/v1/daemon/events", None),
        Question::Config { set: None } => (Method::GET, "/api/v1/config", None),
        Question::Config { set: Some(key) } => {
            let value = std::io::read_to_string(std::io::stdin())?;
            let body = serde_json::json!({ key: value.trim_end() });
            (Method::PUT, "/api/v1/config", Some(body))
        }
        Question::LogLevel { level } => {
            let body = serde_json::json!({ "log_level": level });
            (Method::PUT, "/api/v1/daemon", Some(body))
        }
        Question::Exit => (Method::PUT, "/api/v1/daemon/exit", None),
    };
    let body = body.map(|body| body.to_string().into_bytes());
    let asked = client::ask(&arguments.api_socket, method, path, body);
    let text = crate::runtime::handle()?.block_on(asked)?;
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(json) => println!("{}", serde_json::to_string_pretty(&json)?),
        Err(_) => print!("{text}"),
    }
    Ok(Outcome::Done)
}
