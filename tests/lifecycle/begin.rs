//! What a daemon accepts before it serves anything.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::image::{self, FILE, Image};
use crate::support::session::Session;

/// Runs a `tidegate serve` that is expected to refuse.
fn refused(image: &Image, socket: &Path, arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("serve")
        .arg("--socket")
        .arg(socket)
        .args(image.arguments())
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    text
}

#[test]
fn socket_that_nobody_listens_on_is_replaced() {
    let image = image::small().unwrap();
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("fs.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    let daemon = Daemon::tidegate_on(&socket, &image.arguments()).unwrap();
    assert_eq!(daemon.socket(), socket);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    guest.resolve(FILE).unwrap();
}

#[test]
fn socket_of_a_killed_daemon_is_replaced() {
    let image = image::small().unwrap();
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("fs.sock");
    // Dropped means killed.
    drop(Daemon::tidegate_on(&socket, &image.arguments()).unwrap());
    assert!(socket.exists());
    let daemon = Daemon::tidegate_on(&socket, &image.arguments()).unwrap();
    daemon.mount(&Config::default()).unwrap();
}

#[test]
fn socket_of_a_living_daemon_is_refused_and_named() {
    let image = image::small().unwrap();
    let daemon = image.serve(&[]).unwrap();
    let said = refused(&image, daemon.socket(), &[]);
    assert!(
        said.contains(&daemon.socket().display().to_string()),
        "{said}"
    );
    assert!(said.contains("Another process"), "{said}");
    // Which goes on as if nothing had been.
    let mut guest = daemon.mount(&Config::default()).unwrap();
    guest.resolve(FILE).unwrap();
}

#[test]
fn socket_of_a_daemon_with_a_guest_is_refused_and_the_guest_unharmed() {
    let image = image::small().unwrap();
    let daemon = image.serve(&["--exit-on-disconnect"]).unwrap();
    let mut guest: Session = daemon.mount(&Config::default()).unwrap();
    let said = refused(&image, daemon.socket(), &[]);
    assert!(said.contains("Another process"), "{said}");
    guest.resolve(FILE).unwrap();
}

#[test]
fn file_in_the_place_of_the_socket_is_kept() {
    let image = image::small().unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("precious");
    fs::write(&path, b"mine").unwrap();
    let said = refused(&image, &path, &[]);
    assert!(said.contains(&path.display().to_string()), "{said}");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[test]
fn wrong_root_is_refused_with_both_digests_named() {
    let image = image::small().unwrap();
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("fs.sock");
    let right = image.root().unwrap();
    let wrong = format!("sha256:{}", "5a".repeat(32));
    let said = refused(&image, &socket, &["--root", &wrong]);
    for digest in [&wrong, &right] {
        let hex = digest.trim_start_matches("sha256:");
        assert!(said.contains(hex), "{said}");
    }
    assert!(!socket.exists());
    let daemon = image.serve(&["--root", &right, "--require-root"]).unwrap();
    assert!(daemon.complaints().contains("is pinned"));
}

#[test]
fn unpinned_image_is_refused_where_a_root_is_required() {
    let image = image::small().unwrap();
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("fs.sock");
    let said = refused(&image, &socket, &["--require-root"]);
    assert!(said.contains("--root"), "{said}");
    assert!(
        said.contains(&image.bootstrap().display().to_string()),
        "{said}"
    );
    assert!(!socket.exists());
}
