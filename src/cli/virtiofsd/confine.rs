//! `--sandbox` and `--seccomp`, in virtiofsd's words.

use clap::{Args, ValueEnum};

use crate::sandbox::{Level, Plan, Refusal};

#[derive(Debug, Args)]
pub(super) struct Confine {
    /// Where the process is: `namespace` and `chroot` are both a mount namespace
    /// of its own, in which later mounts of the host appear.
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = Place::Namespace)]
    sandbox: Place,
    /// What happens to a system call that is not on the list: `error` fails it,
    /// `kill` and `trap` end the process, `log` makes it and tells the kernel's
    /// log.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Met::Error)]
    seccomp: Met,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Place {
    Namespace,
    Chroot,
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Met {
    Error,
    Kill,
    Trap,
    Log,
    None,
}

impl Confine {
    /// What the process forbids itself. Capabilities are dropped in any case.
    pub(super) fn plan(&self) -> Plan {
        Plan {
            namespace: self.sandbox != Place::None,
            seccomp: match self.seccomp {
                Met::None => None,
                Met::Log => Some(Refusal::Log),
                Met::Error => Some(Refusal::Error),
                Met::Kill | Met::Trap => Some(Refusal::End),
            },
            ..Plan::machine(Level::Standard, true)
        }
    }
}
