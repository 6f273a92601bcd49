//! The limit of open files.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are asked for, as by nydusd and virtiofsd.
const DESCRIPTORS: u64 = 1_000_000;

/// Descriptors that are left to others, as nydusd leaves them.
const OTHERS: u64 = 16_384;

/// Raises the soft limit to the hard one, which everybody may.
pub(super) fn raise_to_hard() {
    let limit = getrlimit(Resource::Nofile);
    // Left as it is when the system refuses: there is a limit in any case.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Raises the limit to `wanted`, or to what nydusd and virtiofsd ask for; 0 leaves
/// it alone. Returns a warning when it cannot be raised as far.
pub(super) fn limit(wanted: Option<u64>) -> Option<String> {
    let wanted = wanted.unwrap_or(DESCRIPTORS);
    if wanted == 0 {
        return None;
    }
    raise(wanted).map(|limit| {
        format!("The limit of open files stays at {limit}: it cannot be raised to {wanted}")
    })
}

/// Raises the limit to `wanted`, or as far as can be. Returns what it is then if
/// that is less.
fn raise(wanted: u64) -> Option<u64> {
    let wanted = wanted.min(possible());
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return None;
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        return None;
    }
    raise_to_hard();
    let limit = getrlimit(Resource::Nofile).current;
    limit.filter(|&current| current < wanted)
}

/// Most descriptors that a process of this system may have.
fn possible() -> u64 {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let each = number("/proc/sys/fs/nr_open").unwrap_or(u64::MAX);
    let all = number("/proc/sys/fs/file-max").unwrap_or(u64::MAX);
    each.min(all.saturating_sub(OTHERS))
}
