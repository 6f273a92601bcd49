//! Takes from each thread what it does not need: capabilities, system calls,
//! the host's mount namespace.
//!
//! A thread is as restricted as the one that started it, so [`Sandbox`] restricts
//! the first thread, which is of the group [`Group::Control`], before there are
//! others, and new threads of narrower groups restrict themselves further when
//! they begin (see [`crate::threads`]).
//!
//! * `calls` are the lists of system calls, `filter` makes filters of them.
//! * `privileges` are the capabilities, `namespace` is the mount namespace, `paths`
//!   are the rules of landlock.
//! * `report` is what is said about it.
//!
//! May use: `threads`. Used by: `cli`, and `control` for the report.

mod calls;
mod filter;
mod namespace;
mod paths;
mod privileges;
mod report;

use std::fmt;
use std::io;

use nix::sys::signal::SigSet;
use rustix::thread::CapabilitySet;

use self::filter::Filter;
pub use self::report::Report;
use crate::threads::{self, Kind};

/// How much is forbidden.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Level {
    /// Nothing that the system would let it do.
    None,
    /// All that its work does not need, as far as the system can forbid it; a
    /// call that is not on the list fails.
    #[default]
    Standard,
    /// The same; it does not start without, and such a call ends the process.
    Strict,
}

impl Level {
    fn refusal(self) -> Refusal {
        match self {
            Self::Strict => Refusal::End,
            Self::None | Self::Standard => Refusal::Error,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Standard => "standard",
            Self::Strict => "strict",
        })
    }
}

/// What happens to a system call that is not on the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is made, and the kernel's log says so.
    Log,
    /// It fails with `EPERM`.
    Error,
    /// It ends the process with `SIGSYS`.
    End,
}

impl Refusal {
    fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Error => "EPERM",
            Self::End => "kill",
        }
    }
}

/// Threads that do the same kind of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// Those that open images, caches and directories of the host, talk to the
    /// machine monitor, write the log, wait for signals, and decompress.
    Control {
        /// Whether directories of the host are served.
        directories: bool,
        /// Whether they mount something on the host.
        mounts: bool,
    },
    /// Those that talk to registries and answer the API.
    Network,
    /// Those that answer a guest, or the host's kernel, from images.
    Images,
    /// Those that answer a guest from directories of the host.
    Directories,
    /// The one that starts programs which know credentials. What it may not do is
    /// forbidden to these, too.
    Helpers,
}

impl Group {
    fn name(self) -> &'static str {
        match self {
            Self::Control { .. } => "control",
            Self::Network => "network",
            Self::Images | Self::Directories => "queue",
            Self::Helpers => "helper",
        }
    }
}

/// What the process is about to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// How much is forbidden.
    pub level: Level,
    /// Whether directories of the host are served, or may be later.
    pub directories: bool,
    /// Whether it mounts on the host, where others must see it.
    pub mounts: bool,
    /// Whether it may have a mount namespace of its own.
    pub namespace: bool,
    /// Whether system calls are filtered, and what meets those that are not on the
    /// list.
    pub seccomp: Option<Refusal>,
}

impl Plan {
    /// All that serving a virtual machine can do without is forbidden.
    pub fn machine(level: Level, directories: bool) -> Self {
        Self {
            level,
            directories,
            mounts: false,
            namespace: true,
            seccomp: Some(level.refusal()),
        }
    }

    /// The same for a file system on the host.
    pub fn host(level: Level, directories: bool) -> Self {
        Self {
            level,
            directories,
            mounts: true,
            namespace: false,
            seccomp: Some(level.refusal()),
        }
    }

    fn control(&self) -> Group {
        Group::Control {
            directories: self.directories,
            mounts: self.mounts,
        }
    }

    fn group(&self, kind: Kind) -> Group {
        match kind {
            Kind::Network => Group::Network,
            Kind::Queue | Kind::Fuse if self.directories => Group::Directories,
            Kind::Queue | Kind::Fuse => Group::Images,
            Kind::Helper => Group::Helpers,
        }
    }
}

/// The process cannot be as restricted as `--sandbox strict` demands.
#[derive(Debug, thiserror::Error)]
#[error("--sandbox strict: {0}; --sandbox standard goes on without")]
pub struct SandboxError(String);

/// A process that is being restricted.
#[derive(Debug)]
pub struct Sandbox {
    plan: Plan,
    report: Report,
    /// The capabilities that it came with.
    held: CapabilitySet,
}

impl Sandbox {
    /// Begins: moves the process to a mount namespace of its own, and has new
    /// threads restrict themselves. Call it while there is one thread.
    ///
    /// # Errors
    /// At the level strict, when the system cannot do something of it.
    pub fn begin(plan: Plan) -> Result<Self, SandboxError> {
        let held = privileges::held();
        let report = Report::new(plan.level);
        let mut sandbox = Self { plan, report, held };
        if plan.level == Level::None {
            let names = privileges::names(held);
            sandbox.report.capabilities.insert("all", names);
            return Ok(sandbox);
        }
        // Copies of private mounts would stay when the host removes them, and later
        // mounts would not arrive.
        let able = plan.namespace && held.contains(CapabilitySet::SYS_ADMIN);
        let private = plan.level != Level::Strict && !namespace::root_is_shared();
        sandbox.report.private_mounts = able && private;
        if plan.namespace && !sandbox.report.private_mounts {
            match namespace::enter() {
                Ok(()) => sandbox.report.mount_namespace = true,
                Err(error) => sandbox.miss(format!(
                    "no mount namespace of its own ({error}; it needs CAP_SYS_ADMIN)"
                ))?,
            }
        }
        sandbox.report.landlock = paths::can_restrict();
        if !sandbox.report.landlock {
            sandbox
                .miss("the kernel has no landlock: network threads may open files".to_owned())?;
        }
        if plan.seccomp.is_some() && !filter::is_possible() {
            sandbox.plan.seccomp = None;
            sandbox.miss("the kernel has no seccomp filters".to_owned())?;
        }
        let plan = sandbox.plan;
        threads::at_start(move |kind| {
            if let Kind::Queue | Kind::Fuse = kind {
                // Signals are for the first thread: this one may not pass them on.
                if let Err(error) = SigSet::all().thread_block() {
                    log::warn!("A thread cannot leave signals to others: {error}");
                }
            }
            if let Err(error) = enter(plan.group(kind), plan.seccomp) {
                log::error!("A thread is less restricted than it should be: {error}");
                if plan.level == Level::Strict {
                    // Nobody is there yet to whom it could be said otherwise.
                    std::process::exit(1);
                }
            }
        });
        Ok(sandbox)
    }

    /// Restricts the calling thread, and all that it starts from now on.
    ///
    /// # Errors
    /// At the level strict, when the system cannot do something of it.
    pub fn finish(mut self) -> Result<Report, SandboxError> {
        let plan = self.plan;
        if plan.level == Level::None {
            return Ok(self.report);
        }
        // The program that mounts for everybody is set-user-ID: threads that start
        // it must be able to gain its privileges.
        let by_helper = plan.mounts && !self.held.contains(CapabilitySet::SYS_ADMIN);
        if by_helper {
            self.miss(
                "the control threads are not restricted, since without CAP_SYS_ADMIN fusermount3 mounts for them"
                    .to_owned(),
            )?;
        } else if let Err(error) = enter(plan.control(), plan.seccomp) {
            self.miss(error.to_string())?;
        }
        self.report.no_new_privs = rustix::thread::no_new_privs().unwrap_or(false);
        let filtered = plan.seccomp.filter(|_| by_helper || filter::is_on());
        self.report.refused = filtered.map(Refusal::name);
        self.report.seccomp = filtered.is_some();
        let fuse = if plan.mounts { Kind::Fuse } else { Kind::Queue };
        let groups = [Kind::Network, fuse].map(|kind| plan.group(kind));
        for group in groups.into_iter().chain([plan.control()]) {
            let kept = if by_helper && group == plan.control() {
                self.held
            } else {
                privileges::of(group) & self.held
            };
            let names = privileges::names(kept);
            self.report.capabilities.insert(group.name(), names);
        }
        Ok(self.report)
    }

    /// Something cannot be had.
    fn miss(&mut self, what: String) -> Result<(), SandboxError> {
        if self.plan.level == Level::Strict {
            return Err(SandboxError(what));
        }
        self.report.missing.push(what);
        Ok(())
    }
}

/// What could not be forbidden.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// Privileges can be gained.
    #[error("no-new-privs cannot be set ({0})")]
    NoNewPrivs(#[source] io::Error),
    /// Capabilities stay.
    #[error("capabilities cannot be dropped ({0})")]
    Capabilities(#[source] io::Error),
    /// Paths are not restricted.
    #[error("paths cannot be restricted ({0})")]
    Paths(String),
    /// System calls are not filtered.
    #[error("system calls cannot be filtered ({0})")]
    Seccomp(String),
}

/// Makes the calling thread, and those that it starts, one of `group`. There is no
/// way back. System calls are filtered if it is said what meets the others.
///
/// # Errors
/// When the system refuses; the thread may be restricted in part then.
pub fn enter(group: Group, seccomp: Option<Refusal>) -> Result<(), EnterError> {
    let no_gain = rustix::thread::set_no_new_privs(true);
    let dropped = privileges::keep(privileges::of(group));
    let confined = match group {
        Group::Network => paths::resolver_alone().map_err(|error| error.to_string()),
        _ => Ok(()),
    };
    if let Some(refusal) = seccomp {
        Filter::new(group, refusal)
            .and_then(|filter| filter.install())
            .map_err(|error| EnterError::Seccomp(error.to_string()))?;
    }
    // One does not need the other.
    no_gain.map_err(|error| EnterError::NoNewPrivs(error.into()))?;
    dropped.map_err(EnterError::Capabilities)?;
    confined.map_err(EnterError::Paths)
}
