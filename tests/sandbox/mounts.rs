//! The daemon's own mount namespace: later mounts of the host arrive in it, and go.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::daemon::Daemon;
use crate::support::frontend::Config;

/// Runs a script; whether it succeeded.
fn sh(at: &Path, script: &str) -> bool {
    let done = Command::new("sh")
        .args(["-euc", script])
        .current_dir(at)
        .status();
    done.is_ok_and(|status| status.success())
}

/// A tmpfs with mounts that are shared, gone when dropped.
struct Shared(tempfile::TempDir);

impl Shared {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let made = sh(
            dir.path(),
            "mount -t tmpfs shared . && mount --make-shared .",
        );
        made.then(|| Self(dir))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        sh(
            Path::new("/"),
            &format!("umount -R -l {}", self.0.path().display()),
        );
    }
}

/// Mounts of a process below a directory.
fn below(pid: u32, dir: &Path) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let dir = format!("{}/", dir.display());
    text.lines().filter(|line| line.contains(&dir)).count()
}

#[test]
fn later_mounts_of_the_host_are_seen_by_the_guest_and_released() {
    let Some(shared) = Shared::new() else {
        eprintln!("Skipped: mounting needs root");
        return;
    };
    let home = shared.0.path();
    assert!(sh(
        home,
        "mkdir -p source/sub other && echo here > other/file"
    ));
    let source = home.join("source");
    let daemon = Daemon::tidegate(&[
        "--sandbox",
        "strict",
        "--shared-dir",
        source.to_str().unwrap(),
    ])
    .unwrap();
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    let theirs = fs::read_link(format!("/proc/{}/ns/mnt", daemon.pid())).unwrap();
    assert_ne!(own, theirs);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    guest.resolve("sub").unwrap();
    guest.resolve("sub/file").unwrap_err();
    assert!(sh(
        home,
        "cd / && mount --bind \"$OLDPWD/other\" \"$OLDPWD/source/sub\""
    ));
    let file = guest.resolve("sub/file").unwrap();
    let handle = guest.open(file).unwrap();
    assert_eq!(guest.read(file, handle, 0, 100).unwrap(), b"here\n");
    guest.release(file, handle).unwrap();
    assert_eq!(below(daemon.pid(), &source), 1);
    assert!(sh(home, "cd / && umount -l \"$OLDPWD/source/sub\""));
    assert_eq!(below(daemon.pid(), &source), 0);
    guest.resolve("sub/file").unwrap_err();
}
