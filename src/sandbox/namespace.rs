//! A mount namespace of the process's own.

use std::io;

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
    Ok(mount_change("/", slave)?)
}
