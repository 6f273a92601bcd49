//! The personality of virtiofsd: for a program named `virtiofsd`, or `tidegate
//! virtiofsd …`.
//!
//! * `arguments` is its command line, `compat` the older form of its options.
//! * `modcaps` gives up capabilities, `confine` says what else is forbidden.

mod arguments;
mod compat;
mod confine;
mod modcaps;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser as _;

use self::arguments::{Line, When};
use super::host::{Host, listener};
use super::log_sink::Sink;
use super::logging::{self, LogFormat, LogLevel};
use super::{Failure, Outcome, control_options, descriptors, sandbox_options};
use crate::attach::HostRules;
use crate::control::Bound;
use crate::fs::mounts::MountPath;
use crate::fs::passthrough::{Options, PassthroughFs};
use crate::sandbox::Report;
use crate::socket::SocketFile;
use crate::virtio::{ServeOptions, Shutdown};

/// What Kata's Rust runtime waits for, on standard error, once.
const WAITING: &str = "Waiting for vhost-user socket connection...";

/// What libvirt is told: the type of the device, and that options need not come in
/// the form `-o`.
const CAPABILITIES: &str = r#"{
  "type": "fs",
  "features": [
    "posix-acl-negotiation-mode",
    "security-label-negotiation-mode",
    "separate-options"
  ]
}"#;

/// Runs with this command line, whose first word is the program's name.
pub(super) fn run(line: Vec<OsString>) -> Result<Outcome, Failure> {
    let line = match Line::try_parse_from(compat::translate(line)?) {
        Ok(line) => line,
        Err(error) => error.exit(),
    };
    if line.print_capabilities {
        // Nobody can be told that standard output cannot be written.
        let _ = writeln!(std::io::stdout(), "{CAPABILITIES}");
        return Ok(Outcome::Done);
    }
    if let Some(reason) = line.refused.reason() {
        return Err(reason.into());
    }
    let few = descriptors::limit(line.rlimit_nofile);
    // Before there are threads.
    let has_all = modcaps::apply(&line.modcaps)?;
    let sandbox = sandbox_options::start(line.confine.plan(), None)?;
    start_log(&line);
    let ignored = line.without_effect.given();
    if !ignored.is_empty() {
        log::warn!("Options that do nothing here: {}", ignored.join(" "));
    }
    few.inspect(|few| log::warn!("{few}"));
    if !has_all {
        log::warn!("--modcaps: this process has not all capabilities that are asked for");
    }
    sandbox.log();
    serve(&line, sandbox)
}

fn start_log(line: &Line) {
    let (format, sink) = if line.syslog {
        (LogFormat::System, Sink::system())
    } else {
        (LogFormat::Text, Sink::never_waiting())
    };
    let level = if line.debug {
        LogLevel::Debug
    } else {
        line.log_level
    };
    logging::start(level, format, sink);
    logging::take_panics();
}

fn serve(line: &Line, sandbox: Report) -> Result<Outcome, Failure> {
    let given = line.fd.map(listener).transpose()?;
    let dir = line.shared_dir.as_deref().unwrap_or(Path::new(""));
    let fs = PassthroughFs::new(dir, options(line))?;
    let (name, listener, file) = match (&line.socket_path, given) {
        (_, Some(listener)) => {
            let name = format!("descriptor {}", line.fd.unwrap_or(-1));
            (PathBuf::from(name), listener, None)
        }
        (path, None) => {
            let path = path.clone().unwrap_or_default();
            let (listener, file) = crate::socket::listen(&path)?;
            if let Some(group) = &line.socket_group {
                share(&path, group)?;
            }
            (path, Arc::new(listener), Some(Arc::new(file)))
        }
    };
    let pid_file = file.as_ref().map(|_| {
        let mut name = name.clone().into_os_string();
        name.push(".pid");
        PathBuf::from(name)
    });
    let shutdown = Shutdown::new()?;
    let daemon = control_options::daemon(None);
    daemon.set_sandbox(sandbox);
    let host = Host::start(
        daemon,
        Bound::default(),
        HostRules::default(),
        pid_file.as_deref(),
        &line.state,
    )?;
    let hook = file.clone();
    host.end_at_signals(move || {
        if let Some(file) = hook.as_deref() {
            SocketFile::remove(file);
        }
    })?;
    host.attacher.tree().expect_directories();
    host.attacher.restore();
    host.attacher.mount_directory(&MountPath::default(), fs)?;
    let options = ServeOptions {
        listener: Some(listener),
        request_queues: line.request_queues,
        tag: line.tag.clone(),
        exit_on_disconnect: true,
        record: line.state.dir().map(Into::into),
        ..ServeOptions::new(name)
    };
    let syslog = line.syslog;
    let served = host.serve_and(&options, &shutdown, move || announce(syslog));
    if let Some(file) = file.as_deref() {
        file.remove();
    }
    served?;
    host.finish();
    Ok(Outcome::Done)
}

/// How the directory behaves.
fn options(line: &Line) -> Options {
    let posix_acl = line.posix_acl != When::Never;
    Options {
        cache: line.cache,
        xattr: line.xattr || posix_acl,
        posix_acl,
        announce_submounts: !line.no_announce_submounts,
        read_only: line.readonly,
        plain_listings: line.no_readdirplus,
        writeback: line.writeback,
        shared_maps: line.allow_mmap,
        ..Options::default()
    }
}

/// Says that a machine may connect. Whoever waited may have closed the other end.
fn announce(syslog: bool) {
    if syslog {
        log::info!("{WAITING}");
        let _ = std::io::stderr().write_all(format!("{WAITING}\n").as_bytes());
    } else {
        logging::print(WAITING);
    }
}

/// Lets a group connect to the socket.
fn share(path: &Path, group: &str) -> Result<(), Failure> {
    let failed = |error: String| {
        format!(
            "Cannot give {} to the group {group}: {error}",
            path.display()
        )
    };
    let found = nix::unistd::Group::from_name(group).map_err(|error| failed(error.to_string()))?;
    let found = found.ok_or_else(|| failed("there is no such group".to_owned()))?;
    let group = chown(path, None, Some(found.gid.as_raw()));
    let mode = std::fs::Permissions::from_mode(0o660);
    group
        .and_then(|()| std::fs::set_permissions(path, mode))
        .map_err(|error| failed(error.to_string()).into())
}
