//! A daemon at work: each of its threads is as restricted as it should be, and its
//! guest notices nothing.

use std::collections::BTreeMap;
use std::fs;

use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::image::{self, FILE};

/// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER.
pub(crate) const FILES: u64 = 0b1110;

/// CAP_SYS_ADMIN.
const ADMIN: u64 = 1 << 21;

/// What `/proc` says of a thread.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) name: String,
    pub(crate) no_new_privs: bool,
    pub(crate) filtered: bool,
    pub(crate) capabilities: u64,
}

/// The threads of a process.
pub(crate) fn of(pid: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let states = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    states.map(|text| parse(&text)).collect()
}

fn parse(text: &str) -> Thread {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let fields: BTreeMap<_, _> = lines.map(|(key, value)| (key, value.trim())).collect();
    Thread {
        name: fields["Name"].to_owned(),
        no_new_privs: fields["NoNewPrivs"] == "1",
        filtered: fields["Seccomp"] == "2",
        capabilities: u64::from_str_radix(fields["CapEff"], 16).unwrap(),
    }
}

/// What this process may do, which is all that a daemon may have.
pub(crate) fn own() -> u64 {
    of(std::process::id())[0].capabilities
}

fn check(daemon: &Daemon, wanted: &[(&str, u64)]) {
    let threads = of(daemon.pid());
    for thread in &threads {
        assert!(thread.no_new_privs && thread.filtered, "{thread:?}");
        let rule = wanted
            .iter()
            .find(|(name, _)| thread.name.starts_with(name));
        let (_, capabilities) = rule.unwrap_or_else(|| panic!("{thread:?} is of no group"));
        assert_eq!(thread.capabilities, capabilities & own(), "{thread:?}");
    }
    for (name, _) in wanted {
        let there = threads.iter().any(|thread| thread.name.starts_with(name));
        assert!(there, "{name} is not among {threads:?}");
    }
}

#[test]
fn threads_of_an_image_have_few_rights_and_those_of_its_queues_none() {
    let image = image::small().unwrap();
    let daemon = image.serve(&[]).unwrap();
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let node = guest.resolve(FILE).unwrap();
    let handle = guest.open(node).unwrap_or(0);
    assert!(!guest.read(node, handle, 0, 4096).unwrap().is_empty());
    check(
        &daemon,
        &[
            ("tidegate-miss", 0),
            ("tidegate-work", FILES),
            ("tidegate-signal", FILES),
            ("queue-", 0),
            ("", FILES),
        ],
    );
    assert_eq!(
        mentions(&daemon, "Sandbox standard: no-new-privs on, seccomp on"),
        1
    );
    assert_eq!(mentions(&daemon, "less restricted"), 0);
}

fn mentions(daemon: &Daemon, what: &str) -> usize {
    daemon.complaints().matches(what).count()
}

#[test]
fn queues_of_a_directory_may_do_what_a_guests_root_does_in_it() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(dir.path().join("file"), "content").unwrap();
    let daemon = Daemon::tidegate(&["--shared-dir", dir.path().to_str().unwrap()]).unwrap();
    let mut guest = daemon.mount(&Config::default()).unwrap();
    guest.resolve("file").unwrap();
    let root = own() & ADMIN != 0;
    for thread in of(daemon.pid()) {
        assert!(thread.no_new_privs && thread.filtered, "{thread:?}");
        let queue = thread.name.starts_with("queue-");
        assert!(
            !queue || !root || thread.capabilities & ADMIN != 0,
            "{thread:?}"
        );
        // CAP_SYS_PTRACE, CAP_SYS_MODULE, CAP_NET_ADMIN
        assert_eq!(
            thread.capabilities & (1 << 19 | 1 << 16 | 1 << 12),
            0,
            "{thread:?}"
        );
    }
}
