//! What hosts and guests see.

use std::process::Command;

use crate::nydus::served::{guest_sees, host_sees, tidegate, unpacks_to};
use crate::rig::{ALL, Fixture, manifest};

#[test]
fn guest_sees_the_tree() {
    for (name, tree) in ALL {
        guest_sees(&manifest(tree), &Fixture::named(name).arguments(), name);
    }
}

#[test]
fn host_sees_the_tree() {
    for (name, tree) in ALL {
        host_sees(&manifest(tree), &Fixture::named(name).arguments(), name);
    }
}

#[test]
fn tools_take_every_form() {
    for (name, tree) in ALL {
        let arguments = Fixture::named(name).arguments();
        let (status, text) = tidegate("check", &arguments, &[]);
        assert_eq!(status, Some(0), "{name}: {text}");
        let names = format!("{} names", manifest(tree).len());
        assert!(text.contains(&names), "{name}: {text}");
        let (_, text) = tidegate("cat", &arguments, &["/same"]);
        assert!(text.contains("tail"), "{name}: {text}");
        unpacks_to(&manifest(tree), &arguments, name);
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
