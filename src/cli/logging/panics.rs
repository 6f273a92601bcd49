//! Panics of threads that may do little else.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::thread;

use super::*;
use crate::sandbox::{Group, Refusal, enter};

/// Tells the child which group its thread is to be of.
const PANICS: &str = "TIDEGATE_TEST_PANICS";

const CONTROL: Group = Group::Control {
    directories: true,
    mounts: false,
};

const GROUPS: [(&str, Group); 4] = [
    ("control", CONTROL),
    ("network", Group::Network),
    ("images", Group::Images),
    ("directories", Group::Directories),
];

fn named(name: &str, work: impl FnOnce() + Send + 'static) -> thread::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.unwrap().join()
}

/// Not a test of its own: the child of the one below.
#[test]
fn child() {
    let Ok(wanted) = std::env::var(PANICS) else {
        return;
    };
    start(LogLevel::Info, LogFormat::Text, Sink::never_waiting());
    take_panics();
    let mut groups = GROUPS.into_iter();
    let (_, group) = groups.find(|(name, _)| *name == wanted).unwrap();
    let outer = named("outer", move || {
        enter(CONTROL, Some(Refusal::End)).unwrap();
        let inner = named("inner", move || {
            enter(group, Some(Refusal::End)).unwrap();
            panic!("on purpose");
        });
        assert!(inner.is_err());
    });
    outer.unwrap();
    flush();
}

/// There a call that is not on the list ends the process, and the standard library
/// makes many for a backtrace.
#[test]
fn a_panic_is_told_by_the_log_where_strict_is_the_sandbox() {
    for (name, _) in GROUPS {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cli::logging::panics::child", "--nocapture"])
            .env(PANICS, name)
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), None, "{name}: {said}");
        assert!(output.status.success(), "{name}: {said}");
        let mut lines = said.lines();
        let line = lines.find(|line| line.contains("Thread Some(\"inner\")"));
        assert!(line.is_some_and(|line| line.contains("ERROR")), "{said}");
        assert!(said.contains("on purpose"), "{said}");
    }
}
