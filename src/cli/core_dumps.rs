//! Keeps credentials out of core dumps.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::cli::Failure;

/// Switches core dumps of this process off, and with them attaching to it by
/// others of its user: what it knows of credentials stays in its memory.
///
/// # Errors
/// When the system refuses, which it has no reason to.
pub(super) fn forbid() -> Result<(), Failure> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let refused = |error| format!("Cannot switch core dumps off to protect credentials: {error}");
    setrlimit(Resource::Core, none).map_err(refused)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused)?;
    Ok(())
}
