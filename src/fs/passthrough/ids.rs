//! Making files as the guest's user, and without privileges that it has not.
//!
//! User, group, umask and capabilities are changed for the calling thread alone.
//! The guest's kernel has checked already whether its user may do what it asks
//! for, with groups of which at most one is known here; so the right to pass over
//! permissions stays.

use std::cell::Cell;

use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::fs::Mode;
use rustix::process::{getgroups, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups,
};

use crate::fs::Errno;
use crate::fs::operation::Caller;

/// No id: asks `setfsuid` and `setfsgid` what is set.
const ASK: u32 = u32::MAX;

thread_local! {
    /// Whether the thread has a umask of its own, which is 0 between requests.
    static READY: Cell<bool> = const { Cell::new(false) };
}

/// What the daemon may do.
pub(super) struct Ids {
    /// Whether it can act as others.
    switches: bool,
    /// Groups that it has besides its own; none if it cannot have others.
    groups: Option<Vec<rustix::fs::Gid>>,
}

impl Ids {
    /// Looks at the capabilities of the calling thread.
    pub(super) fn new() -> Self {
        let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
        let has = capabilities(None).is_ok_and(|sets| sets.effective.contains(needed));
        if !has {
            log::warn!(
                "Files that guests make belong to the user of this process, since it may not act as others (CAP_SETUID, CAP_SETGID)"
            );
        }
        // User namespaces may forbid it, and nothing tells without a try.
        let groups = getgroups().ok().filter(|_| has);
        let groups = groups.filter(|own| set_thread_groups(own).is_ok());
        Self {
            switches: has,
            groups,
        }
    }

    /// Whether files belong to whoever makes them.
    pub(super) fn switches(&self) -> bool {
        self.switches
    }

    /// Acts as `caller`, with `mask` as its umask, until what this returns is
    /// dropped.
    ///
    /// # Errors
    /// `EPERM` when the system refuses.
    pub(super) fn act(&self, caller: Caller, mask: u32) -> Result<Acting<'_>, Errno> {
        own_umask()?;
        let mut acting = Acting {
            masked: mask != 0,
            switched: false,
            groups: None,
        };
        if mask != 0 {
            umask(Mode::from_bits_truncate(mask & 0o777));
        }
        let root = (caller.uid, caller.gid) == (0, 0);
        if self.switches && !root {
            if let Some(own) = &self.groups
                && !(own.is_empty() && caller.group.is_none())
            {
                let group = caller.group.map(rustix::fs::Gid::from_raw);
                acting.groups = Some(own);
                set_thread_groups(group.as_slice())?;
            }
            acting.switched = true;
            switch(caller)?;
        }
        Ok(acting)
    }
}

/// A thread that acts as somebody else.
pub(super) struct Acting<'a> {
    masked: bool,
    switched: bool,
    /// What its groups were.
    groups: Option<&'a [rustix::fs::Gid]>,
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        if let Some(groups) = self.groups
            && let Err(error) = set_thread_groups(groups)
        {
            log::error!("A thread cannot take its groups back: {error}");
        }
        if self.switched {
            // Going back to root brings back the capabilities.
            setfsuid(Uid::effective());
            setfsgid(Gid::effective());
        }
        if self.masked {
            umask(Mode::empty());
        }
    }
}

fn switch(caller: Caller) -> Result<(), Errno> {
    // Neither call says whether it worked.
    setfsgid(Gid::from_raw(caller.gid));
    if setfsgid(Gid::from_raw(ASK)).as_raw() != caller.gid {
        return Err(Errno(libc::EPERM));
    }
    setfsuid(Uid::from_raw(caller.uid));
    if setfsuid(Uid::from_raw(ASK)).as_raw() != caller.uid {
        return Err(Errno(libc::EPERM));
    }
    if caller.uid != 0 {
        // The kernel took all capabilities over files away.
        let sets = capabilities(None)?;
        let effective = sets.effective | (sets.permitted & CapabilitySet::DAC_OVERRIDE);
        set_capabilities(None, CapabilitySets { effective, ..sets })?;
    }
    Ok(())
}

/// Gives the calling thread a umask of its own.
fn own_umask() -> Result<(), Errno> {
    if READY.get() {
        return Ok(());
    }
    nix::sched::unshare(CloneFlags::CLONE_FS).map_err(|errno| {
        log::error!("A thread cannot have a umask of its own: {errno}");
        Errno(libc::EPERM)
    })?;
    umask(Mode::empty());
    READY.set(true);
    Ok(())
}

/// Takes from the calling thread the right to keep set-user-id and set-group-id
/// bits, until what this returns is dropped, so that the kernel drops them as it
/// does for everybody.
///
/// # Errors
/// When the system refuses.
pub(super) fn without_keeping_ids() -> Result<Plain, Errno> {
    let before = capabilities(None)?;
    if !before.effective.contains(CapabilitySet::FSETID) {
        return Ok(Plain(None));
    }
    let effective = before.effective - CapabilitySet::FSETID;
    set_capabilities(
        None,
        CapabilitySets {
            effective,
            ..before
        },
    )?;
    Ok(Plain(Some(before)))
}

/// A thread without that right.
pub(super) struct Plain(Option<CapabilitySets>);

impl Drop for Plain {
    fn drop(&mut self) {
        if let Some(before) = self.0
            && let Err(error) = set_capabilities(None, before)
        {
            log::error!("A thread cannot take its capabilities back: {error}");
        }
    }
}
