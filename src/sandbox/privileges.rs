//! Capabilities: which each group of threads keeps.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};

use super::Group;

/// Opening blobs, caches and sockets of others, and keeping the times of cached
/// files.
const FILES: CapabilitySet = CapabilitySet::DAC_OVERRIDE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER);

/// Doing on a directory of the host what a guest's root and its users may:
/// `SYS_ADMIN` is for the attributes `trusted.*`, which overlayfs keeps.
const DIRECTORIES: CapabilitySet = FILES
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_ADMIN);

/// The capabilities that a group may have.
pub(super) fn of(group: Group) -> CapabilitySet {
    match group {
        Group::Control {
            directories,
            mounts,
        } => {
            let files = if directories { DIRECTORIES } else { FILES };
            let mounting = if mounts {
                CapabilitySet::SYS_ADMIN
            } else {
                CapabilitySet::empty()
            };
            files | mounting
        }
        Group::Directories => DIRECTORIES,
        Group::Helpers => FILES,
        Group::Network | Group::Images => CapabilitySet::empty(),
    }
}

/// Those that the calling thread can use.
pub(super) fn held() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// Takes from the calling thread all capabilities but `kept`, also for programs
/// that it would start.
///
/// # Errors
/// When the system refuses.
pub(super) fn keep(kept: CapabilitySet) -> io::Result<()> {
    let before = capabilities(None)?;
    let mut bounded = Ok(());
    if before.effective.contains(CapabilitySet::SETPCAP) {
        for one in (CapabilitySet::all() - kept).iter() {
            // Those that this kernel does not know are not in the set.
            if capability_is_in_bounding_set(one).unwrap_or(false) {
                bounded = bounded.and(remove_capability_from_bounding_set(one));
            }
        }
    }
    // Older kernels have none.
    let _ = clear_ambient_capability_set();
    let after = CapabilitySets {
        effective: before.effective & kept,
        permitted: before.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    // A service manager may have taken them, and the right to ask, already.
    if after != before {
        set_capabilities(None, after)?;
    }
    Ok(bounded?)
}

/// The names of the capabilities in a set, as the kernel has them.
pub(super) fn names(set: CapabilitySet) -> Vec<String> {
    set.iter_names()
        .map(|(name, _)| format!("CAP_{name}"))
        .collect()
}
