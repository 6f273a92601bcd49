//! The system calls that each group of threads may make.
//!
//! Calls whose arguments matter too are in [`checked`]. What is old and
//! superseded exists on x86-64 alone.

use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BackendError, SeccompCondition, SeccompRule};

use super::Group;

/// What every thread does: memory, waiting, time, and reading and writing what
/// is open.
const EVERY: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_futex,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_ctl,
    libc::SYS_ppoll,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Descriptors that close at the end of a handle, and locks on what is open.
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
];

#[cfg(target_arch = "x86_64")]
const EVERY_OLD: &[c_long] = &[
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    libc::SYS_time,
    libc::SYS_dup2,
];
#[cfg(not(target_arch = "x86_64"))]
const EVERY_OLD: &[c_long] = &[];

/// Sockets that are there, and what comes with their messages.
const MESSAGES: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
];

/// Connecting to others, and finding their addresses.
const CONNECTING: &[c_long] = &[
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_uname,
];

/// Reading files by their names.
const LOOKING: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_getcwd,
    libc::SYS_geteuid,
    libc::SYS_getuid,
    libc::SYS_getegid,
    libc::SYS_getgid,
];

#[cfg(target_arch = "x86_64")]
const LOOKING_OLD: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
];
#[cfg(not(target_arch = "x86_64"))]
const LOOKING_OLD: &[c_long] = &[];

/// Making and changing files: caches, and what a guest does below a directory of
/// the host.
const CHANGING: &[c_long] = &[
    libc::SYS_openat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_flock,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_umask,
    libc::SYS_memfd_create,
];

#[cfg(target_arch = "x86_64")]
const CHANGING_OLD: &[c_long] = &[
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
];
#[cfg(not(target_arch = "x86_64"))]
const CHANGING_OLD: &[c_long] = &[];

/// Acting as the guest's users, and naming files without a path.
const AS_OTHERS: &[c_long] = &[
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_getgroups,
    libc::SYS_setgroups,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
];

/// Restricting itself further.
const RESTRICTING: &[c_long] = &[
    libc::SYS_seccomp,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
];

/// What the threads that steer the process do besides.
const STEERING: &[c_long] = &[
    libc::SYS_listen,
    libc::SYS_socketpair,
    libc::SYS_pipe2,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getppid,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_pidfd_open,
    libc::SYS_set_tid_address,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_msync,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_mincore,
];

#[cfg(target_arch = "x86_64")]
const STEERING_OLD: &[c_long] = &[
    libc::SYS_pipe,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_eventfd,
    libc::SYS_epoll_create,
    libc::SYS_accept,
];
#[cfg(not(target_arch = "x86_64"))]
const STEERING_OLD: &[c_long] = &[libc::SYS_accept];

/// `ioctl` numbers: sharing a file's blocks with another (`linux/fs.h`), and another
/// descriptor of a mount (`FUSE_DEV_IOC_CLONE` of `linux/fuse.h`).
const FICLONE: u64 = 0x4004_9409;
const FICLONERANGE: u64 = 0x4020_940d;
const FUSE_CLONE: u64 = 0x8004_e500;

/// Which interface a link-local name server is on (`linux/sockios.h`).
const INTERFACE: u64 = 0x8933;

/// Showing a file system on the host.
const MOUNTING: &[c_long] = &[libc::SYS_mount, libc::SYS_umount2];

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

/// What no program that knows credentials does.
pub(super) const NEVER: &[c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_open_by_handle_at,
    libc::SYS_io_uring_setup,
];

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
