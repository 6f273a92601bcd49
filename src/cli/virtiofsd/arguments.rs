//! virtiofsd's command line.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Parser, ValueEnum};

use super::confine::Confine;
use crate::cli::logging::LogLevel;
use crate::cli::state_options::StateArguments;
use crate::fs::passthrough::Cache;

/// Serves a directory of the host to a virtual machine, in the place of virtiofsd.
#[derive(Debug, Parser)]
#[command(
    name = "virtiofsd",
    version,
    about,
    max_term_width = 100,
    args_override_self = true
)]
pub(super) struct Line {
    /// Directory of the host to serve.
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "print_capabilities"
    )]
    pub(super) shared_dir: Option<PathBuf>,
    /// Unix socket that the virtual machine monitor connects to. The process id is
    /// in PATH.pid while the daemon runs.
    #[arg(
        long,
        alias = "socket",
        value_name = "PATH",
        required_unless_present_any = ["fd", "print_capabilities"]
    )]
    pub(super) socket_path: Option<PathBuf>,
    /// Group that may connect to the socket, beside its owner.
    #[arg(long, value_name = "GROUP", conflicts_with = "fd")]
    pub(super) socket_group: Option<String>,
    /// Descriptor of a Unix socket that listens already, in place of --socket-path.
    #[arg(long, value_name = "N", conflicts_with = "socket_path")]
    pub(super) fd: Option<i32>,
    /// Tag to tell a monitor that asks for the device's configuration. QEMU 7.1 to
    /// 8.0 end when one is offered.
    #[arg(long, value_name = "TAG")]
    pub(super) tag: Option<String>,
    /// What the guest may keep: never, auto, metadata or always.
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub(super) cache: Cache,
    /// Pass extended attributes through.
    #[arg(long, overrides_with = "no_xattr")]
    pub(super) xattr: bool,
    /// Pass access control lists through, and have the guest obey them; implies
    /// --xattr. Alone it means always.
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true,
          default_value = "never", default_missing_value = "always")]
    pub(super) posix_acl: When,
    /// Refuse all that would change the directory.
    #[arg(long)]
    pub(super) readonly: bool,
    /// Tell the guest where other file systems are mounted in the directory; so it
    /// does unless it is told not to.
    #[arg(long, overrides_with = "no_announce_submounts")]
    pub(super) announce_submounts: bool,
    /// Do not tell it.
    #[arg(long, overrides_with = "announce_submounts")]
    pub(super) no_announce_submounts: bool,
    /// List directories without the attributes of what is in them.
    #[arg(long, overrides_with = "readdirplus")]
    pub(super) no_readdirplus: bool,
    /// Have the guest gather what it writes. The directory must be this guest's
    /// alone.
    #[arg(long, overrides_with = "no_writeback")]
    pub(super) writeback: bool,
    /// Allow shared mappings of files although their data is not kept (--cache
    /// never, metadata). The directory must be this guest's alone.
    #[arg(long)]
    pub(super) allow_mmap: bool,
    #[command(flatten)]
    pub(super) state: StateArguments,
    /// Open files that are wanted; 0 to leave the limit alone [default: 1000000].
    #[arg(long, value_name = "N")]
    pub(super) rlimit_nofile: Option<u64>,
    /// Capabilities to give up (-chown); what is to be added (+sys_admin) is kept if
    /// the process has it. Several are separated by colons.
    #[arg(long, value_name = "LIST", allow_hyphen_values = true, action = ArgAction::Append)]
    pub(super) modcaps: Vec<String>,
    /// How much is logged.
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub(super) log_level: LogLevel,
    /// Log to the system's log in place of standard error.
    #[arg(long)]
    pub(super) syslog: bool,
    /// The same as --log-level debug.
    #[arg(short = 'd')]
    pub(super) debug: bool,
    /// Print what this program can do, as libvirt asks for it, and end.
    #[arg(long)]
    pub(super) print_capabilities: bool,
    /// Request queues, each served by a thread of its own.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(super) request_queues: usize,
    #[command(flatten)]
    pub(super) confine: Confine,
    #[command(flatten)]
    pub(super) without_effect: WithoutEffect,
    #[command(flatten)]
    pub(super) refused: Refused,
}

/// When something is used: `auto` if the guest can.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum When {
    Never,
    Auto,
    Always,
}

/// How the guest's nodes are held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Handles {
    Never,
    #[value(alias = "fallback")]
    Prefer,
    Mandatory,
}

/// Options that make no difference here, or one that no guest sees.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Accepted, without an effect")]
pub(super) struct WithoutEffect {
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new())]
    thread_pool_size: Option<usize>,
    #[arg(long, overrides_with = "no_allow_direct_io")]
    allow_direct_io: bool,
    #[arg(long, overrides_with = "no_killpriv_v2")]
    killpriv_v2: bool,
    #[arg(long, overrides_with = "killpriv_v2")]
    no_killpriv_v2: bool,
    #[arg(long)]
    preserve_noatime: bool,
    #[arg(long, value_name = "MODE")]
    migration_mode: Option<String>,
    #[arg(long, value_name = "HOW")]
    migration_on_error: Option<String>,
    #[arg(long)]
    migration_verify_handles: bool,
    #[arg(long)]
    migration_confirm_paths: bool,
    #[arg(short = 'f', hide = true)]
    foreground: bool,
    #[arg(long, hide = true, overrides_with = "xattr")]
    no_xattr: bool,
    #[arg(long, hide = true, overrides_with = "no_readdirplus")]
    readdirplus: bool,
    #[arg(long, hide = true, overrides_with = "writeback")]
    no_writeback: bool,
    #[arg(long, hide = true, overrides_with = "allow_direct_io")]
    no_allow_direct_io: bool,
}

/// Options that change what a guest may do or sees, and that are not here.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Refused where they ask for something")]
pub(super) struct Refused {
    /// `mandatory` is refused: nodes are held by descriptors.
    #[arg(long, value_enum, value_name = "HOW", default_value = "prefer")]
    inode_file_handles: Handles,
    /// `always` is refused.
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true,
          default_value = "never", default_missing_value = "always")]
    security_label: When,
    #[arg(long, value_name = "RULES", allow_hyphen_values = true, action = ArgAction::Append)]
    xattrmap: Vec<String>,
    #[arg(long, value_name = "MAP", action = ArgAction::Append)]
    uid_map: Vec<String>,
    #[arg(long, value_name = "MAP", action = ArgAction::Append)]
    gid_map: Vec<String>,
    #[arg(long, value_name = "MAP", action = ArgAction::Append)]
    translate_uid: Vec<String>,
    #[arg(long, value_name = "MAP", action = ArgAction::Append)]
    translate_gid: Vec<String>,
}

impl WithoutEffect {
    /// Those that were given and that somebody may have counted on.
    pub(super) fn given(&self) -> Vec<String> {
        let values = [
            ("--migration-mode", &self.migration_mode),
            ("--migration-on-error", &self.migration_on_error),
        ];
        let flags = [
            ("--allow-direct-io", self.allow_direct_io),
            ("--migration-verify-handles", self.migration_verify_handles),
            ("--migration-confirm-paths", self.migration_confirm_paths),
        ];
        let values = values.into_iter().filter_map(|(name, value)| {
            let value = value.as_ref().filter(|value| *value != "none")?;
            Some(format!("{name}={value}"))
        });
        let flags = flags.into_iter().filter(|(_, given)| *given);
        values
            .chain(flags.map(|(name, _)| name.to_owned()))
            .collect()
    }
}

impl Refused {
    /// Why this command line cannot be served, if it cannot.
    pub(super) fn reason(&self) -> Option<&'static str> {
        let ids = "ids are not translated: run the guest's users as those of the host, or use an id-mapped mount of the directory";
        let asked = [
            (
                !self.xattrmap.is_empty(),
                "--xattrmap: names of extended attributes are passed through as they are; leave it out, or leave --xattr out",
            ),
            (!self.uid_map.is_empty(), ids),
            (!self.gid_map.is_empty(), ids),
            (!self.translate_uid.is_empty(), ids),
            (!self.translate_gid.is_empty(), ids),
            (
                self.inode_file_handles == Handles::Mandatory,
                "--inode-file-handles=mandatory: nodes are held by descriptors; use prefer or never",
            ),
            (
                self.security_label == When::Always,
                "--security-label=always: labels of new files are not taken from the guest; use auto or never",
            ),
        ];
        let found = asked.into_iter().find(|(given, _)| *given);
        found.map(|(_, reason)| reason)
    }
}
