//! The personality of nydusd: for a program named `nydusd`, or `tidegate nydusd`.
//!
//! * `arguments` is its command line, `early` the part of it that is read before
//!   everything else.
//! * `virtiofs` serves a virtual machine, as Kata's runtimes start it, `fuse` the
//!   host, as nydus-snapshotter does.

mod arguments;
mod early;
mod fuse;
mod virtiofs;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser as _;

use self::arguments::{FsOptions, Global, Line, Mode};
use super::host::Host;
use super::log_sink::Sink;
use super::logging::{self, LogFormat};
use super::state_options::StateArguments;
use super::{Failure, Outcome, control_options, descriptors, prefetch_options, sandbox_options};
use crate::attach::{HOST_POLICY, HostRules};
use crate::backend::registry::credentials::docker_config;
use crate::control::{Bound, MountRequest};
use crate::fs::mounts::MountPath;
use crate::fs::passthrough::{Options, PassthroughFs};
use crate::sandbox::{Plan, Report};

/// Longest configuration that is read, in bytes.
const CONFIG_MAX: u64 = 1 << 20;

/// Runs with this command line, whose first word is the program's name.
pub(super) fn run(line: Vec<OsString>) -> Result<Outcome, Failure> {
    // Kata looks for the socket as soon as the program runs, and waits for 100 ms
    // if it is not there.
    let early = early::api_socket(&line);
    let control = Bound::new(early.as_deref(), None);
    let Line { global, fuse, mode } = match Line::try_parse_from(line) {
        Ok(line) => line,
        Err(error) => {
            drop(control);
            error.exit();
        }
    };
    let few = descriptors::limit(global.rlimit_nofile);
    let level = global.sandbox.level();
    // Before there is any other thread.
    let plan = match &mode {
        // Kata mounts a directory beside the images.
        Some(Mode::Virtiofs(_)) => Plan::machine(level, true),
        _ => Plan::host(level, true),
    };
    let sandbox = sandbox_options::start(plan, docker_config())?;
    start_log(&global)?;
    sandbox.log();
    let control = match control? {
        bound if early == global.apisock => bound,
        other => {
            drop(other);
            Bound::new(global.apisock.as_deref(), None)?
        }
    };
    remark(&global);
    few.inspect(|few| log::warn!("{few}"));
    match mode {
        None => fuse::run(&global, &fuse, control, sandbox),
        Some(Mode::Fuse(arguments)) => fuse::run(&global, &arguments, control, sandbox),
        Some(Mode::Virtiofs(arguments)) => virtiofs::run(&global, &arguments, control, sandbox),
        Some(Mode::Singleton(_)) => Err(
            "The mode singleton (EROFS over fscache) is not supported; use fuse, or virtiofs"
                .into(),
        ),
    }
}

/// The host of either mode, its API answering.
fn host(
    global: &Global,
    control: Bound,
    state: &StateArguments,
    sandbox: Report,
) -> Result<Host, Failure> {
    let policy = global.policy.clone().or_else(|| {
        let path = PathBuf::from(HOST_POLICY);
        path.exists().then_some(path)
    });
    if let Some(path) = &policy {
        log::info!("Images are held to the policy {}", path.display());
    }
    let rules = HostRules {
        policy,
        require_root: global.require_root,
        ..HostRules::default()
    };
    let daemon = control_options::daemon(global.id.clone());
    daemon.set_sandbox(sandbox);
    Host::start(daemon, control, rules, global.pid_file.as_deref(), state)
}

/// Mounts what the command line names, if it names anything.
fn mount_first(host: &Host, global: &Global, options: &FsOptions) -> Result<(), Failure> {
    if let Some(dir) = &options.shared_dir {
        let fs = PassthroughFs::new(dir, Options::default());
        let at: MountPath = options.virtual_mountpoint.parse()?;
        if options.bootstrap.is_some() {
            return Err("--shared-dir and --bootstrap exclude each other; mount one of them through --apisock".into());
        }
        match fs {
            Ok(fs) => host.attacher.mount_directory(&at, fs)?,
            Err(error) => host.lose(error.into())?,
        }
        return Ok(());
    }
    if options.dedup_db.is_some() {
        log::warn!("--dedup-db is left out: chunks of other images are found in the cache");
    }
    let Some(bootstrap) = &options.bootstrap else {
        return Ok(());
    };
    let config = match (&options.localfs_dir, &global.config) {
        (Some(dir), _) => local(dir).to_string(),
        (None, Some(path)) => read(path)?,
        (None, None) => return Err("--bootstrap needs --config FILE or --localfs-dir DIR".into()),
    };
    let files = options.prefetch_files.as_deref();
    let files = files.map(prefetch_options::read_list).transpose()?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "a path is not UTF-8");
    let files = files.map(|files| files.into_iter().map(text).collect::<Result<Vec<_>, _>>());
    let source = bootstrap.to_str();
    let request = MountRequest {
        fs_type: "rafs".to_owned(),
        source: source
            .ok_or("The path of --bootstrap is not UTF-8")?
            .to_owned(),
        config: config.into(),
        prefetch_files: files.transpose()?,
    };
    let at: MountPath = options.virtual_mountpoint.parse()?;
    if host.attacher.is_restoring() {
        // It was written down as it was asked for.
        return Ok(());
    }
    host.attacher.mount_request(&at, &request, false)?;
    Ok(())
}

/// nydusd's configuration for blobs in a directory, which holds the cache too.
fn local(dir: &Path) -> serde_json::Value {
    serde_json::json!({
        "device": {
            "backend": {"type": "localfs", "config": {"dir": dir}},
            "cache": {"type": "blobcache", "config": {"work_dir": dir}},
        },
        "mode": "direct",
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    use std::io::Read as _;

    let fail = |error| format!("Cannot read configuration {}: {error}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(CONFIG_MAX)
        .read_to_string(&mut text)
        .map_err(fail)?;
    Ok(text)
}

fn start_log(global: &Global) -> Result<(), Failure> {
    let sink = match &global.log_file {
        None => Sink::never_waiting(),
        Some(path) => {
            let mut path = path.clone();
            if path.extension().is_none() {
                path.set_extension("log");
            }
            let limit = global.log_rotation_size.saturating_mul(1 << 20);
            let opened = Sink::file(&path, (limit > 0).then_some(limit));
            opened.map_err(|error| format!("Cannot write the log {}: {error}", path.display()))?
        }
    };
    logging::start(global.log_level, LogFormat::Text, sink);
    logging::take_panics();
    Ok(())
}

/// Says, once, what is accepted and does nothing.
fn remark(global: &Global) {
    if global.supervisor.is_some() {
        log::warn!(
            "--supervisor is left out: no state is handed to another daemon; `virtiofs --state DIR` keeps it for one that is started after a crash"
        );
    }
}
