//! Missing privileges (check 21 of Kata's contract): what is said, and what goes on.

use std::process::Command;

use crate::support::daemon::{Daemon, SOCKET};
use crate::support::frontend::Config;
use crate::support::image::{self, FILE, Image};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");

/// Whether a command can be run at all here.
fn can(line: &[&str]) -> bool {
    let done = Command::new(line[0]).args(&line[1..]).arg("true").output();
    done.is_ok_and(|output| output.status.success())
}

/// Serves an image by a command that changes what the daemon may do.
fn serve(before: &[&str], image: &Image, more: &[&str]) -> Option<Daemon> {
    if !can(before) {
        eprintln!("Skipped: {} does not work here", before.join(" "));
        return None;
    }
    let (bootstrap, blobs) = (image.bootstrap(), image.blobs());
    let mut line = before.to_vec();
    line.extend([PROGRAM, "serve", "--socket", SOCKET]);
    line.extend(["--bootstrap", bootstrap.to_str().unwrap()]);
    line.extend(["--blobs", blobs.to_str().unwrap()]);
    line.extend(more);
    Some(Daemon::command(&line).unwrap())
}

fn reads(daemon: &Daemon) {
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let node = guest.resolve(FILE).unwrap();
    let handle = guest.open(node).unwrap_or(0);
    assert!(!guest.read(node, handle, 0, 4096).unwrap().is_empty());
}

#[test]
fn image_is_served_in_a_user_namespace() {
    let image = image::small().unwrap();
    let line = ["unshare", "--user", "--map-root-user"];
    let Some(daemon) = serve(&line, &image, &[]) else {
        return;
    };
    reads(&daemon);
    assert!(
        daemon
            .complaints()
            .contains("Sandbox standard: no-new-privs on, seccomp on")
    );
}

#[test]
fn image_is_served_by_a_user_without_privileges_who_is_told_what_is_missing() {
    let image = image::small().unwrap();
    let line = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    // The bounding set is what root gets.
    let Some(daemon) = serve(&line, &image, &[]) else {
        return;
    };
    reads(&daemon);
    let said = daemon.complaints();
    assert!(said.contains("no mount namespace of its own"), "{said}");
    assert!(said.contains("CAP_SYS_ADMIN"), "{said}");
    assert!(said.contains("no-new-privs on, seccomp on"), "{said}");
}

#[test]
fn strict_does_not_start_without_privileges_and_says_which() {
    let image = image::small().unwrap();
    let line = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    if !can(&line) {
        return;
    }
    let output = Command::new(line[0])
        .args(&line[1..])
        .args([PROGRAM, "serve", "--socket", "/nowhere/fs.sock"])
        .args(["--sandbox", "strict"])
        .args(image.arguments())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("--sandbox strict: no mount namespace"),
        "{said}"
    );
    assert!(said.contains("CAP_SYS_ADMIN"), "{said}");
    assert!(
        said.contains("--sandbox standard goes on without"),
        "{said}"
    );
}

#[test]
fn image_is_served_without_proc() {
    let image = image::small().unwrap();
    let hidden = "mount -t tmpfs none /proc && exec \"$@\"";
    let line = ["unshare", "--mount", "sh", "-c", hidden, "sh"];
    let Some(daemon) = serve(&line, &image, &[]) else {
        return;
    };
    reads(&daemon);
}
