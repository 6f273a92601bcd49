//! What is on, for the log and the API.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Level;

/// What the daemon may not do, as far as the system let it be forbidden.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The level that was asked for.
    pub level: String,
    /// Whether no program that it starts can gain privileges.
    pub no_new_privs: bool,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// What happens to a call that is not on the list: `EPERM`, `kill` or `log`.
    pub refused: Option<&'static str>,
    /// Whether landlock restricts the paths that network threads may open.
    pub landlock: bool,
    /// Whether it has a mount namespace of its own.
    pub mount_namespace: bool,
    /// Whether it has none since mounts of the host do not spread.
    pub private_mounts: bool,
    /// The capabilities of each group of threads.
    pub capabilities: BTreeMap<&'static str, Vec<String>>,
    /// What was asked for and is not on, with its reason.
    pub missing: Vec<String>,
}

impl Report {
    pub(super) fn new(level: Level) -> Self {
        Self {
            level: level.to_string(),
            no_new_privs: false,
            seccomp: false,
            refused: None,
            landlock: false,
            mount_namespace: false,
            private_mounts: false,
            capabilities: BTreeMap::new(),
            missing: Vec::new(),
        }
    }

    /// Says it in the log.
    pub fn log(&self) {
        let on = |is_on| if is_on { "on" } else { "off" };
        log::info!(
            "Sandbox {}: no-new-privs {}, seccomp {}, landlock {}, own mount namespace {}",
            self.level,
            on(self.no_new_privs),
            on(self.seccomp),
            on(self.landlock),
            on(self.mount_namespace)
        );
        if self.private_mounts {
            log::info!(
                "The host's root is private, so that later mounts would not arrive in a mount namespace of the daemon's own"
            );
        }
        for (group, names) in &self.capabilities {
            let names = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(" ")
            };
            log::debug!("Capabilities of the {group} threads: {names}");
        }
        for what in &self.missing {
            log::warn!("Sandbox: {what}");
        }
    }
}
