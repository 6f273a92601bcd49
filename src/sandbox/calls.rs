//! The system calls that each group of threads may make, of those in `lists`.
//!
//! Calls whose arguments matter too are in [`checked`].

mod lists;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BackendError, SeccompCondition, SeccompRule};

pub(super) use self::lists::NEVER;
use self::lists::{
    AS_OTHERS, CHANGING, CHANGING_OLD, CONNECTING, EVERY, EVERY_OLD, LOOKING, LOOKING_OLD,
    MESSAGES, MOUNTING, RESTRICTING, STEERING, STEERING_OLD,
};
use super::Group;

/// `ioctl` numbers: sharing a file's blocks with another (`linux/fs.h`), and another
/// descriptor of a mount (`FUSE_DEV_IOC_CLONE` of `linux/fuse.h`).
const FICLONE: u64 = 0x4004_9409;
const FICLONERANGE: u64 = 0x4020_940d;
const FUSE_CLONE: u64 = 0x8004_e500;

/// Which interface a link-local name server is on (`linux/sockios.h`).
const INTERFACE: u64 = 0x8933;

/// The calls of a group that fail with a number, also where others end the process.
pub(super) fn failing(group: Group) -> Vec<(c_long, libc::c_int)> {
    // Its flags are in memory, where no filter sees them: the C library falls back
    // to clone.
    let mut calls = vec![(libc::SYS_clone3, libc::ENOSYS)];
    if !plain(group).contains(&libc::SYS_openat) {
        // The allocator asks how many processors there are, and can do without.
        calls.push((libc::SYS_openat, libc::EPERM));
    }
    calls
}

/// The calls of a group that are allowed whatever their arguments.
pub(super) fn plain(group: Group) -> Vec<c_long> {
    let lists: &[&[c_long]] = match group {
        Group::Control { mounts, .. } => {
            let mounting: &[c_long] = if mounts { MOUNTING } else { &[] };
            &[
                STEERING,
                STEERING_OLD,
                RESTRICTING,
                MESSAGES,
                CONNECTING,
                LOOKING,
                LOOKING_OLD,
                CHANGING,
                CHANGING_OLD,
                AS_OTHERS,
                mounting,
            ]
        }
        Group::Network => &[MESSAGES, CONNECTING, LOOKING, LOOKING_OLD, RESTRICTING],
        Group::Images | Group::Helpers => &[],
        Group::Directories => &[LOOKING, LOOKING_OLD, CHANGING, CHANGING_OLD, AS_OTHERS],
    };
    let all = [EVERY, EVERY_OLD].into_iter().chain(lists.iter().copied());
    all.flatten().copied().collect()
}

/// The calls of a group that are allowed with some arguments.
///
/// # Errors
/// None that these constants can cause.
pub(super) fn checked(group: Group) -> Result<Vec<(c_long, Vec<SeccompRule>)>, BackendError> {
    let one = |argument, length, operator, value: u64| {
        let condition = SeccompCondition::new(argument, length, operator, value)?;
        SeccompRule::new(vec![condition])
    };
    let flags = |number: libc::c_int| u64::from(number.unsigned_abs());
    let mut calls = Vec::new();
    // A thread names itself and its memory, and asks about itself.
    let asked = [
        libc::PR_SET_NAME,
        libc::PR_GET_NAME,
        libc::PR_SET_VMA,
        libc::PR_SET_NO_NEW_PRIVS,
        libc::PR_GET_NO_NEW_PRIVS,
        libc::PR_GET_SECCOMP,
        libc::PR_CAPBSET_READ,
        libc::PR_CAP_AMBIENT,
        libc::PR_GET_DUMPABLE,
        libc::PR_SET_DUMPABLE,
    ];
    let asked = asked.map(|option| one(0, Dword, Eq, flags(option)));
    calls.push((
        libc::SYS_prctl,
        asked.into_iter().collect::<Result<_, _>>()?,
    ));
    // Memory that runs is mapped for libraries alone, which the resolver loads.
    let loads = matches!(group, Group::Control { .. } | Group::Network);
    if loads {
        // Threads, never processes.
        let thread = flags(libc::CLONE_THREAD);
        let rule = one(0, Qword, MaskedEq(thread), thread)?;
        calls.push((libc::SYS_clone, vec![rule]));
    }
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let rules = if loads {
            Vec::new()
        } else {
            vec![one(2, Dword, MaskedEq(flags(libc::PROT_EXEC)), 0)?]
        };
        calls.push((call, rules));
    }
    match group {
        Group::Network | Group::Control { .. } => {
            let families = [
                libc::AF_UNIX,
                libc::AF_INET,
                libc::AF_INET6,
                libc::AF_NETLINK,
            ];
            let families = families.map(|family| one(0, Dword, Eq, flags(family)));
            calls.push((
                libc::SYS_socket,
                families.into_iter().collect::<Result<_, _>>()?,
            ));
        }
        _ => {}
    }
    let ioctls: &[u64] = match group {
        Group::Control { .. } => &[
            FICLONE,
            FICLONERANGE,
            FUSE_CLONE,
            libc::FIONREAD,
            libc::FIONBIO,
            INTERFACE,
            libc::TCGETS,
            libc::TIOCGWINSZ,
        ],
        Group::Network => &[libc::FIONREAD, libc::FIONBIO, INTERFACE],
        _ => &[],
    };
    if !ioctls.is_empty() {
        let rules = ioctls.iter().map(|&code| one(1, Dword, Eq, code));
        calls.push((libc::SYS_ioctl, rules.collect::<Result<_, _>>()?));
    }
    if let Group::Control { .. } | Group::Directories = group {
        // Each thread that makes files has a umask of its own.
        calls.push((
            libc::SYS_unshare,
            vec![one(0, Qword, Eq, flags(libc::CLONE_FS))?],
        ));
    }
    Ok(calls)
}
