//! What happens to somebody who runs inside a thread: the calls that lead out of it,
//! made in a process of their own under the restrictions of each group.

// Each attempt is a call of its own, under one reason.
#![allow(unsafe_code, clippy::multiple_unsafe_ops_per_block)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use tidegate::sandbox::{Group, Refusal, enter};

/// Tells the child which group it is to be.
const PROBE: &str = "TIDEGATE_TEST_PROBE";

/// The calls, each with a name.
const CALLS: [&str; 14] = [
    "open",
    "create",
    "socket",
    "connect",
    "execve",
    "fork",
    "ptrace",
    "mount",
    "unshare",
    "setns",
    "bpf",
    "io_uring",
    "keyctl",
    "run_memory",
];

const CONTROL: Group = Group::Control {
    directories: true,
    mounts: false,
};

fn group(name: &str) -> Group {
    match name {
        "control" => CONTROL,
        "network" => Group::Network,
        "images" => Group::Images,
        "directories" => Group::Directories,
        "helpers" => Group::Helpers,
        other => panic!("no group {other}"),
    }
}

/// Makes a call and returns its error's number, 0 for success.
fn attempt(name: &str, port: u16) -> i32 {
    let path = CString::new("/etc/passwd").unwrap();
    let new = CString::new(format!("/tmp/tidegate-probe-{}", std::process::id())).unwrap();
    let root = CString::new("/").unwrap();
    let none = std::ptr::null::<libc::c_void>();
    let address = libc::sockaddr_in {
        sin_family: 2,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    };
    let (read, make) = (libc::O_RDONLY, libc::O_CREAT | libc::O_WRONLY);
    // SAFETY: every pointer is null or leads to a value that lives until the end of
    // this function, and what is mapped is not used.
    let result = unsafe {
        match name {
            "open" => libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), read),
            "create" => libc::syscall(libc::SYS_openat, libc::AT_FDCWD, new.as_ptr(), make, 0o600),
            "socket" => libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
            "connect" => {
                let socket = libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0);
                let length = size_of_val(&address);
                libc::syscall(libc::SYS_connect, socket.max(0), &raw const address, length)
            }
            "execve" => libc::syscall(libc::SYS_execve, root.as_ptr(), none, none),
            "fork" => libc::syscall(libc::SYS_clone, libc::SIGCHLD, none, none, none, none),
            "ptrace" => libc::syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, 1, none, none),
            "mount" => libc::syscall(
                libc::SYS_mount,
                none,
                root.as_ptr(),
                none,
                libc::MS_REC | libc::MS_SLAVE,
                none,
            ),
            "unshare" => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWNS),
            "setns" => libc::syscall(libc::SYS_setns, 0, 0),
            "bpf" => libc::syscall(libc::SYS_bpf, 0, none, 0),
            "io_uring" => libc::syscall(libc::SYS_io_uring_setup, 1, none),
            "keyctl" => libc::syscall(libc::SYS_keyctl, 0, 0, 0),
            "run_memory" => {
                let how = libc::PROT_READ | libc::PROT_EXEC;
                let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                libc::syscall(libc::SYS_mmap, none, 4096, how, kind, -1, 0)
            }
            other => panic!("no call {other}"),
        }
    };
    if name == "fork" && result == 0 {
        std::process::exit(0);
    }
    if result < 0 {
        std::io::Error::last_os_error().raw_os_error().unwrap()
    } else {
        0
    }
}

/// Not a test of its own: the child of those below.
#[test]
fn child() {
    let Ok(told) = std::env::var(PROBE) else {
        return;
    };
    let words: Vec<_> = told.split(' ').collect();
    let (name, port) = (words[0], words[1].parse().unwrap());
    let refusal = match words[2] {
        "error" => Refusal::Error,
        _ => Refusal::End,
    };
    let calls: Vec<String> = words[3..].iter().map(|&call| call.to_owned()).collect();
    let group = group(name);
    let lines = std::thread::spawn(move || {
        // The first thread's restrictions are those of the second one's parent.
        let narrow = group != CONTROL && group != Group::Helpers;
        if narrow {
            enter(CONTROL, Some(refusal)).unwrap();
        }
        let thread = std::thread::spawn(move || {
            enter(group, Some(refusal)).unwrap();
            let each = calls
                .iter()
                .map(|call| format!("{call}={}\n", attempt(call, port)));
            each.collect::<String>()
        });
        thread.join().unwrap()
    });
    eprintln!("PROBED\n{}", lines.join().unwrap());
}

fn run(group: &str, refusal: &str, calls: &[&str]) -> (ExitStatus, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = format!("{group} {port} {refusal} {}", calls.join(" "));
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "escape::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(PROBE, told)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status, text)
}

fn probe(group: &str) -> BTreeMap<String, i32> {
    let (status, text) = run(group, "error", &CALLS);
    assert!(status.success(), "{text}");
    let (_, lines) = text
        .split_once("PROBED\n")
        .unwrap_or_else(|| panic!("{text}"));
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    let found: BTreeMap<_, _> = pairs
        .map(|(call, errno)| (call.to_owned(), errno.parse().unwrap()))
        .collect();
    assert_eq!(found.len(), CALLS.len(), "{text}");
    found
}

/// All calls but `allowed` must be refused by the filter, and those must succeed.
fn only(group: &str, allowed: &[&str]) {
    for (call, errno) in probe(group) {
        let wanted = if allowed.contains(&call.as_str()) {
            0
        } else {
            libc::EPERM
        };
        assert_eq!(errno, wanted, "{call} in a thread of {group}");
    }
    let own = std::fs::read_dir("/tmp").unwrap();
    for entry in own.flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("tidegate-probe-")
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[test]
fn queue_of_images_opens_nothing_and_connects_nowhere() {
    only("images", &[]);
}

#[test]
fn queue_of_directories_opens_files_and_connects_nowhere() {
    only("directories", &["open", "create"]);
}

#[test]
fn control_thread_starts_no_program_and_mounts_nothing() {
    only(
        "control",
        &["open", "create", "socket", "connect", "run_memory"],
    );
}

#[test]
fn network_thread_reads_what_the_resolver_needs_and_writes_nothing() {
    let mut found = probe("network");
    // Landlock refuses with another number.
    let created = found.insert("create".to_owned(), libc::EPERM).unwrap();
    if std::path::Path::new("/sys/kernel/security/landlock").exists() || landlock() {
        assert_eq!(created, libc::EACCES);
    }
    for (call, errno) in found {
        let allowed = ["open", "socket", "connect", "run_memory"];
        let wanted = if allowed.contains(&call.as_str()) {
            0
        } else {
            libc::EPERM
        };
        assert_eq!(errno, wanted, "{call} in a network thread");
    }
}

/// Whether the kernel has landlock.
fn landlock() -> bool {
    // SAFETY: asks for the version; there is nothing behind the null pointer.
    let version = unsafe {
        let none = std::ptr::null::<libc::c_void>();
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, 1)
    };
    version > 0
}

#[test]
fn thread_for_programs_cannot_change_the_host() {
    let found = probe("helpers");
    for call in ["ptrace", "mount", "unshare", "setns", "bpf", "io_uring"] {
        assert_eq!(found[call], libc::EPERM, "{call}");
    }
    // A directory is no program.
    assert_eq!(found["execve"], libc::EACCES);
}

#[test]
fn strict_ends_the_process_at_the_first_such_call() {
    for (group, call) in [
        ("images", "socket"),
        ("network", "execve"),
        ("control", "mount"),
    ] {
        let (status, text) = run(group, "end", &[call]);
        assert_eq!(
            status.signal(),
            Some(libc::SIGSYS),
            "{group} {call}: {text}"
        );
    }
}
