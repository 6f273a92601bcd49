//! What hosts and guests see.

use std::process::Command;

use crate::rig::{ALL, Fixture, manifest};
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

#[test]
fn guest_sees_the_tree() {
    for (name, tree) in ALL {
        let daemon = Daemon::tidegate(&Fixture::named(name).arguments()).unwrap();
        let mut guest = daemon.mount(&Config::default()).unwrap();
        assert_same(&manifest(tree), &of_session(&mut guest).unwrap(), name);
    }
}

#[test]
fn host_sees_the_tree() {
    if !mount::is_possible() {
        return;
    }
    for (name, tree) in ALL {
        let mut mounted = HostMount::new(&Fixture::named(name).arguments()).unwrap();
        let found = of_directory(&mounted.path()).unwrap();
        assert_same(&manifest(tree), &found, name);
        mounted.terminate().unwrap();
    }
}

fn tidegate(subcommand: &str, fixture: &Fixture, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg(subcommand)
        .args(fixture.arguments())
        .args(more)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn tools_take_every_form() {
    for (name, tree) in ALL {
        let fixture = Fixture::named(name);
        let (status, text) = tidegate("check", &fixture, &[]);
        assert_eq!(status, Some(0), "{name}: {text}");
        let names = format!("{} names", manifest(tree).len());
        assert!(text.contains(&names), "{name}: {text}");
        let (_, text) = tidegate("cat", &fixture, &["/same"]);
        assert!(text.contains("tail"), "{name}: {text}");

        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("target");
        let (status, text) = tidegate("unpack", &fixture, &[target.to_str().unwrap()]);
        assert_eq!(status, Some(0), "{name}: {text}");
        if rustix::process::geteuid().is_root() {
            assert_same(&manifest(tree), &of_directory(&target).unwrap(), name);
        }
    }
}

#[test]
fn images_that_nothing_proves_are_refused_unless_that_is_allowed() {
    let fixture = Fixture::named("tarfs");
    for (verify, allowed) in [("always", false), ("fetch", false), ("off", true)] {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("cat")
            .args(&fixture.arguments()[..4])
            .args(["--verify", verify, "/same"])
            .output()
            .unwrap();
        assert_eq!(output.status.success(), allowed, "{verify}");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            complaint.contains("--allow-unverified"),
            !allowed,
            "{complaint}"
        );
    }
}

#[test]
fn a_key_is_never_said() {
    let fixture = Fixture::named("encrypted");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("check")
        .args(fixture.arguments())
        .env("RUST_LOG", "trace")
        .output()
        .unwrap();
    assert!(output.status.success());
    let said = [output.stdout, output.stderr].concat();
    // The key is the bytes 100 to 131.
    let key: Vec<u8> = (100..132).collect();
    let said = String::from_utf8_lossy(&said).to_lowercase();
    for form in [
        hex::encode(&key[..8]),
        "100, 101, 102".into(),
        "defghij".into(),
    ] {
        assert!(!said.contains(&form), "{form}");
    }
    let shown = format!("{:?}", fixture.open().blobs());
    assert!(shown.contains("not shown") && !shown.contains("100, 101"));
}
