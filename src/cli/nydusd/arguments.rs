//! nydusd's command line.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::logging::LogLevel;
use crate::cli::sandbox_options::SandboxArguments;
use crate::cli::state_options::StateArguments;

/// Serves container images to virtual machines and hosts, in the place of
/// nydusd.
#[derive(Debug, Parser)]
#[command(
    name = "nydusd",
    version = LONG_VERSION.as_str(),
    about,
    max_term_width = 100,
    args_override_self = true,
    args_conflicts_with_subcommands = false
)]
pub(super) struct Line {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(flatten)]
    pub(super) fuse: FuseArguments,
    #[command(subcommand)]
    pub(super) mode: Option<Mode>,
}

/// nydusd's form, which nydus-snapshotter takes apart.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    use crate::version::{COMMIT, PROFILE, VERSION};
    format!("Version: \t{VERSION}\nGit Commit: \t{COMMIT}\nProfile: \t{PROFILE}")
});

#[derive(Debug, Subcommand)]
pub(super) enum Mode {
    /// Serve a virtual machine: a vhost-user-fs device.
    #[command(args_override_self = true)]
    Virtiofs(VirtiofsArguments),
    /// Show images on the host.
    #[command(args_override_self = true)]
    Fuse(FuseArguments),
    /// Not supported.
    Singleton(SingletonArguments),
}

/// Options of all modes.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// Unix socket of the HTTP API.
    #[arg(short = 'A', long, global = true, value_name = "PATH")]
    pub(super) apisock: Option<PathBuf>,
    /// Configuration of the image that --bootstrap names.
    #[arg(short = 'C', long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) sandbox: SandboxArguments,
    /// Name of this daemon, for the API.
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) id: Option<String>,
    /// Accepted; no state is handed over (see `virtiofs --state`).
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) supervisor: Option<PathBuf>,
    /// Take over from another daemon: refused.
    #[arg(long, global = true)]
    pub(super) upgrade: bool,
    /// How much is logged.
    #[arg(short = 'l', long, global = true, value_enum, default_value_t = LogLevel::Info)]
    pub(super) log_level: LogLevel,
    /// File that the log is added to, in place of standard error.
    #[arg(short = 'L', long, global = true, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,
    /// Size in MiB at which the log file is set aside; 0 for never.
    #[arg(long, global = true, value_name = "MIB", default_value_t = 0)]
    pub(super) log_rotation_size: u64,
    /// Open files that are wanted; 0 to leave the limit alone [default: 1000000].
    #[arg(long, global = true, value_name = "N")]
    pub(super) rlimit_nofile: Option<u64>,
    /// File of the root digests and bootstrap digests that are allowed (JSON)
    /// [default: /etc/tidegate/policy.json if there is one].
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// Refuse an image that no given digest vouches for.
    #[arg(long, global = true)]
    pub(super) require_root: bool,
    /// File that holds the process id while the daemon runs.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
}

/// What is mounted from the start.
#[derive(Debug, Args)]
pub(super) struct FsOptions {
    /// The metadata of an image that is mounted from the start.
    #[arg(short = 'B', long, value_name = "FILE")]
    pub(super) bootstrap: Option<PathBuf>,
    /// Directory that holds the image's blobs and the cache, in place of
    /// --config.
    #[arg(short = 'D', long, value_name = "DIR")]
    pub(super) localfs_dir: Option<PathBuf>,
    /// Directory of the host to serve, for reading and writing.
    #[arg(short = 's', long, value_name = "DIR")]
    pub(super) shared_dir: Option<PathBuf>,
    /// Files to fetch first: one absolute path per line.
    #[arg(long, value_name = "FILE")]
    pub(super) prefetch_files: Option<PathBuf>,
    /// Where the image is mounted in the device.
    #[arg(short = 'm', long, value_name = "PATH", default_value = "/")]
    pub(super) virtual_mountpoint: String,
    /// Accepted and not used.
    #[arg(long, value_name = "FILE")]
    pub(super) dedup_db: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct VirtiofsArguments {
    /// Unix socket that the virtual machine monitor connects to.
    #[arg(long, value_name = "PATH", required_unless_present = "fd")]
    pub(super) sock: Option<PathBuf>,
    /// Descriptor of a Unix socket that listens already, in place of --sock.
    #[arg(long, value_name = "N", conflicts_with = "sock")]
    pub(super) fd: Option<i32>,
    /// Accepted; images and directories are always served side by side.
    #[arg(long)]
    pub(super) hybrid_mode: bool,
    /// Request queues, each served by a thread of its own.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(super) request_queues: usize,
    /// End when the virtual machine disconnects; otherwise wait for the next.
    #[arg(long)]
    pub(super) exit_on_disconnect: bool,
    #[command(flatten)]
    pub(super) state: StateArguments,
    #[command(flatten)]
    pub(super) fs: FsOptions,
    #[command(flatten)]
    pub(super) foreign: Foreign,
}

/// virtiofsd's options, which Kata's default configuration passes to any daemon.
#[derive(Debug, Args)]
#[command(next_help_heading = "Accepted and ignored, as virtiofsd's")]
pub(super) struct Foreign {
    #[arg(long, value_name = "N")]
    thread_pool_size: Option<String>,
    #[arg(long)]
    announce_submounts: bool,
    #[arg(short = 'o', value_name = "OPTION", action = clap::ArgAction::Append)]
    o: Vec<String>,
    #[arg(long, value_name = "MODE")]
    cache: Option<String>,
    #[arg(long)]
    xattr: bool,
    #[arg(long)]
    syslog: bool,
    #[arg(long, value_name = "MODE")]
    inode_file_handles: Option<String>,
}

impl Foreign {
    /// Those that were given.
    pub(super) fn given(&self) -> Vec<String> {
        let values = [
            ("--thread-pool-size", &self.thread_pool_size),
            ("--cache", &self.cache),
            ("--inode-file-handles", &self.inode_file_handles),
        ];
        let flags = [
            ("--announce-submounts", self.announce_submounts),
            ("--xattr", self.xattr),
            ("--syslog", self.syslog),
        ];
        let values = values.into_iter().filter_map(|(name, value)| {
            let value = value.as_ref()?;
            Some(format!("{name}={value}"))
        });
        let flags = flags.into_iter().filter(|(_, given)| *given);
        values
            .chain(flags.map(|(name, _)| name.to_owned()))
            .chain(self.o.iter().map(|option| format!("-o {option}")))
            .collect()
    }
}

#[derive(Debug, Args)]
pub(super) struct FuseArguments {
    /// Directory to mount on.
    #[arg(short = 'M', long, value_name = "DIR")]
    pub(super) mountpoint: Option<PathBuf>,
    /// Accepted; no other daemon takes over.
    #[arg(long, value_enum, default_value_t = Failover::Resend)]
    pub(super) failover_policy: Failover,
    /// Threads that read requests.
    #[arg(long, alias = "thread-num", value_name = "N", default_value_t = 4,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub(super) fuse_threads: usize,
    /// Accepted; images cannot be written.
    #[arg(long)]
    pub(super) writable: bool,
    #[command(flatten)]
    pub(super) fs: FsOptions,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Failover {
    None,
    Resend,
    Flush,
}

#[derive(Debug, Args)]
pub(super) struct SingletonArguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}
