//! Filters of system calls, made of the lists and installed.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, Error, SeccompAction, SeccompFilter, TargetArch, apply_filter};

use super::{Group, Refusal, calls};

/// The architecture of this build.
#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// What stands between a thread and the kernel.
pub(super) struct Filter(Vec<BpfProgram>);

impl Filter {
    /// The filter of a group; what is not on its list is met by `refusal`.
    ///
    /// # Errors
    /// None that the lists can cause.
    pub(super) fn new(group: Group, refusal: Refusal) -> Result<Self, Error> {
        if group == Group::Helpers {
            return Self::without(calls::NEVER);
        }
        let mut rules: BTreeMap<i64, Vec<_>> = calls::plain(group)
            .into_iter()
            .map(|call| (call, Vec::new()))
            .collect();
        rules.extend(calls::checked(group)?);
        let otherwise = match refusal {
            Refusal::Log => SeccompAction::Log,
            Refusal::Error => SeccompAction::Errno(libc::EPERM.unsigned_abs()),
            Refusal::End => SeccompAction::KillProcess,
        };
        let mut filters = Vec::new();
        for (call, errno) in calls::failing(group) {
            // A filter of its own for each errno, since a filter has but one way to
            // meet what is on its list; for the next one it is on the list.
            rules.insert(call, Vec::new());
            let failed = SeccompAction::Errno(errno.unsigned_abs());
            let on_it = BTreeMap::from([(call, Vec::new())]);
            filters.push(SeccompFilter::new(
                on_it,
                SeccompAction::Allow,
                failed,
                ARCH,
            )?);
        }
        let allowed = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, ARCH)?;
        filters.push(allowed);
        let programs = filters.into_iter().map(TryInto::try_into);
        Ok(Self(programs.collect::<Result<_, _>>()?))
    }

    /// A filter that fails these calls, for programs that are not known.
    fn without(calls: &[libc::c_long]) -> Result<Self, Error> {
        let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
        let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, ARCH)?;
        Ok(Self(vec![filter.try_into()?]))
    }

    /// Filters the calling thread and all that it starts, from now on.
    ///
    /// # Errors
    /// When the system has no such filters.
    pub(super) fn install(&self) -> Result<(), Error> {
        self.0.iter().try_for_each(|program| apply_filter(program))
    }
}

/// Whether the calling thread is filtered.
pub(super) fn is_on() -> bool {
    let mode = rustix::thread::secure_computing_mode();
    mode.is_ok_and(|mode| mode == rustix::thread::SecureComputingMode::Filter)
}

/// Whether the kernel filters system calls, if it says so.
pub(super) fn is_possible() -> bool {
    let listed = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    // Without /proc the first filter will tell.
    listed.map_or(true, |actions| actions.contains("errno"))
        || rustix::thread::secure_computing_mode().is_ok()
}
