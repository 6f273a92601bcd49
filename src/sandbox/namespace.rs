//! A mount namespace of the process's own.

use std::fs::File;
use std::io::{self, Read as _};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};

/// Moves the process, which must have one thread, to a mount namespace in which
/// what is mounted on the host later appears, and from which nothing comes back.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`.
pub(super) fn enter() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).map_err(|errno| {
        io::Error::other(format!(
            "one was made, and is cut off from the host's mounts: {errno}"
        ))
    })
}

/// Whether mounts of the host spread to other namespaces, as far as its root tells.
pub(super) fn root_is_shared() -> bool {
    // The root is among the first lines; a host may have thousands.
    let mut head = [0; 4096];
    let read = File::open("/proc/self/mountinfo").and_then(|mut file| file.read(&mut head));
    let Ok(read) = read else {
        // Without /proc nothing says otherwise.
        return true;
    };
    let text = String::from_utf8_lossy(head.get(..read).unwrap_or_default());
    let mut roots = text
        .lines()
        .filter(|line| line.split(' ').nth(4) == Some("/"));
    // proc_pid_mountinfo(5): optional fields stand before a dash.
    roots.any(|line| {
        line.split(" - ")
            .next()
            .is_some_and(|head| head.contains(" shared:") || head.contains(" master:"))
    })
}
