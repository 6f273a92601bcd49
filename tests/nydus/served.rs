//! What hosts, guests and our own tools see.

use std::ffi::OsString;
use std::process::Command;

use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::manifest::{difference, of_directory, of_session};
use crate::support::mount::{self, HostMount};

/// Fails with the first differences.
fn assert_same(expected: &[String], found: &[String], what: &str) {
    assert!(expected.len() > 100);
    if let Some(text) = difference(expected, found) {
        panic!("{what}: {text}");
    }
}

/// A manifest of what a guest sees of the image that `arguments` name.
pub(crate) fn of_guest(arguments: &[OsString]) -> Vec<String> {
    let daemon = Daemon::tidegate(arguments).unwrap();
    let mut guest = daemon.mount(&Config::default()).unwrap();
    of_session(&mut guest).unwrap()
}

/// A manifest of what the host sees of it; none where it cannot be mounted.
pub(crate) fn of_host(arguments: &[OsString]) -> Option<Vec<String>> {
    if !mount::is_possible() {
        return None;
    }
    let mut mounted = HostMount::new(arguments).unwrap();
    let found = of_directory(&mounted.path()).unwrap();
    mounted.terminate().unwrap();
    Some(found)
}

/// A guest must see this tree.
pub(crate) fn guest_sees(expected: &[String], arguments: &[OsString], what: &str) {
    assert_same(expected, &of_guest(arguments), what);
}

/// The host must see this tree, if it can mount.
pub(crate) fn host_sees(expected: &[String], arguments: &[OsString], what: &str) {
    if let Some(found) = of_host(arguments) {
        assert_same(expected, &found, what);
    }
}

/// Status of a subcommand of ours, and all that it prints.
pub(crate) fn tidegate(
    subcommand: &str,
    arguments: &[OsString],
    more: &[&str],
) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg(subcommand)
        .args(arguments)
        .args(more)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// `tidegate unpack` must succeed, and as root make this tree.
pub(crate) fn unpacks_to(expected: &[String], arguments: &[OsString], what: &str) {
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("target");
    let (status, text) = tidegate("unpack", arguments, &[target.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{what}: {text}");
    if rustix::process::geteuid().is_root() {
        assert_same(expected, &of_directory(&target).unwrap(), what);
    }
}
