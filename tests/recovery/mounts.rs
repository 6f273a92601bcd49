//! Mounts, and nodes of images.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::guest::{create, created, write};
use crate::rig::{Rig, place};
use crate::support::image::{self, FILE, FILE_LEN, Image, file_byte};
use crate::support::session::{Failure, Session};

const LEN: usize = 200_000;

fn content() -> Vec<u8> {
    (0..FILE_LEN).map(file_byte).collect()
}

/// An image whose file says, all over, which one it is.
fn version(byte: u8) -> Image {
    image::build(
        |root| {
            fs::create_dir(root.join("dir"))?;
            fs::write(root.join("dir/file"), vec![byte; LEN])
        },
        &[],
    )
    .unwrap()
}

fn read(guest: &mut Session, node: u64) -> Result<u8, Failure> {
    let read = guest.read(node, 0, 0, LEN)?;
    assert_eq!(read.len(), LEN);
    assert!(read.iter().all(|byte| *byte == read[0]));
    Ok(read[0])
}

fn stale<T: std::fmt::Debug>(answer: Result<T, Failure>) {
    assert_eq!(answer.unwrap_err().errno(), Some(libc::ESTALE));
}

#[test]
fn nodes_of_the_command_lines_image_are_those_of_before() {
    let image = image::small().unwrap();
    let mut rig = Rig::new(&image.arguments());
    let node = rig.guest().resolve(FILE).unwrap();
    let gone = rig.guest().resolve("data").unwrap();
    rig.guest().forget(gone, 2).unwrap();
    let before = rig.guest().attributes(node).unwrap();
    for round in 1..=3 {
        rig.restart();
        assert_eq!(rig.guest().attributes(node).unwrap(), before);
        assert!(rig.guest().read(node, 0, 0, FILE_LEN + 1).unwrap() == content());
        stale(rig.guest().attributes(gone));
        assert_eq!(rig.info()["restored"], round);
    }
    // Only what the guest holds is kept.
    rig.guest().forget(node, 1).unwrap();
    rig.restart();
    stale(rig.guest().attributes(node));
    // A guest that begins anew has nothing of the old one.
    let node = rig.guest().resolve(FILE).unwrap();
    rig.guest().init().unwrap();
    rig.restart();
    stale(rig.guest().attributes(node));
}

#[test]
fn mounts_of_the_api_come_back_with_what_they_replaced() {
    let (old, new, other) = (version(b'a'), version(b'b'), version(b'c'));
    let mut rig = Rig::new(&[]);
    rig.mount("POST", "/rafs/1/lowerdir", &old);
    rig.mount("POST", "/rafs/2", &other);
    let directory = rig.guest().resolve("/rafs/1").unwrap();
    let kept = rig.guest().resolve("/rafs/1/lowerdir/dir/file").unwrap();
    rig.mount("PUT", "/rafs/1/lowerdir", &new);
    let fresh = rig.guest().resolve("/rafs/1/lowerdir/dir/file").unwrap();
    let third = rig.guest().resolve("/rafs/2/dir/file").unwrap();
    let gone = rig.ask("DELETE", "/api/v1/mount?mountpoint=/rafs/2", "");
    assert_eq!(gone.0, 204);
    for _ in 0..2 {
        rig.restart();
        assert_eq!(rig.info()["lost"].as_array().unwrap().len(), 0);
        let guest = rig.guest();
        assert_eq!(read(guest, kept).unwrap(), b'a');
        assert_eq!(read(guest, fresh).unwrap(), b'b');
        stale(guest.attributes(third));
        assert_eq!(guest.resolve("/rafs/1").unwrap(), directory);
        assert_eq!(guest.resolve("/rafs/1/lowerdir/dir/file").unwrap(), fresh);
    }
    // Numbers of mounts that are gone are not used again.
    rig.mount("POST", "/rafs/3", &other);
    let fourth = rig.guest().resolve("/rafs/3/dir/file").unwrap();
    assert_ne!(fourth, third);
    stale(rig.guest().attributes(third));
}

#[test]
fn directories_of_the_api_come_back_and_what_was_unmounted_does_not() {
    let image = image::small().unwrap();
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut rig = Rig::new(&image.arguments());
    let body = serde_json::json!({
        "fs_type": "passthrough_fs", "source": home.path(), "config": "{\"xattr\": true}",
    });
    let at = |path: &str| format!("/api/v1/mount?mountpoint={path}");
    let (status, text) = rig.ask("POST", &at("/containers"), &body.to_string());
    assert_eq!(status, 204, "{text}");
    let (status, _) = rig.ask("DELETE", &at("/"), "");
    assert_eq!(status, 204);
    let guest = rig.guest();
    let root = guest.resolve("/containers").unwrap();
    let made = create(root, "file", libc::O_RDWR).send(guest).unwrap();
    let (node, handle) = created(&made);
    for round in 0..3 {
        let text = format!("round {round}");
        write(node, handle, 0, text.as_bytes())
            .send(rig.guest())
            .unwrap();
        assert_eq!(fs::read_to_string(home.path().join("file")).unwrap(), text);
        rig.restart();
        assert_eq!(rig.info()["lost"], serde_json::json!([]));
        assert_eq!(rig.guest().resolve("/containers").unwrap(), root);
        assert_eq!(rig.guest().lookup(root, b"file").unwrap().node, node);
        let missing = rig.guest().resolve(FILE).unwrap_err();
        assert_eq!(missing.errno(), Some(libc::ENOENT));
    }
}

#[test]
fn a_changed_image_is_lost_and_said_and_the_rest_goes_on() {
    let (one, two, other) = (version(b'a'), version(b'b'), version(b'c'));
    let mut rig = Rig::new(&[]);
    rig.mount("POST", "/one", &one);
    rig.mount("POST", "/two", &two);
    let nodes = ["/one", "/two"].map(|at| {
        let path = format!("{at}/dir/file");
        rig.guest().resolve(&path).unwrap()
    });
    rig.kill();
    fs::copy(other.bootstrap(), one.bootstrap()).unwrap();
    rig.start();
    assert_eq!(rig.info()["lost"], serde_json::json!(["/one"]));
    stale(rig.guest().attributes(nodes[0]));
    stale(rig.guest().read(nodes[0], 0, 0, 1));
    assert_eq!(read(rig.guest(), nodes[1]).unwrap(), b'b');
    let said = rig.daemon().complaints();
    let digest = one.root().unwrap();
    assert!(said.contains(&digest) && said.contains("/one"), "{said}");
    // Its place can be used again.
    rig.mount("PUT", "/one", &two);
    let node = rig.guest().resolve("/one/dir/file").unwrap();
    assert_eq!(read(rig.guest(), node).unwrap(), b'b');
}

#[test]
fn state_is_private_and_goes_with_an_orderly_end() {
    let image = version(b'a');
    let mut rig = Rig::new(&[]);
    rig.mount("POST", "/one", &image);
    let node = rig.guest().resolve("/one/dir/file").unwrap();
    let mut files = 0;
    for file in fs::read_dir(rig.state()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
        files += 1;
    }
    assert!(files >= 4, "{files} files");
    rig.stop();
    assert_eq!(fs::read_dir(rig.state()).unwrap().count(), 0);
    rig.start();
    assert_eq!(rig.info()["restored"], 0);
    stale(rig.guest().attributes(node));
}

#[test]
fn two_daemons_do_not_share_a_state() {
    let image = image::small().unwrap();
    let rig = Rig::new(&[]);
    let state = rig.state().display().to_string();
    let said = image.serve(&["--state", &state]).unwrap_err().to_string();
    assert!(
        said.contains("Another daemon") && said.contains(&state),
        "{said}"
    );
}

/// Mounts an image in a directory of what is mounted at the root, kills the daemon
/// twice, and has the guest give back what it holds of the two directories above.
fn only_the_guests_references_are_kept(rig: &mut Rig) {
    let inner = version(b'i');
    rig.mount("POST", "/outer/deep/inner", &inner);
    let file = rig.guest().resolve("/outer/deep/inner/dir/file").unwrap();
    let outer = rig.guest().resolve("/outer").unwrap();
    let deep = rig.guest().lookup(outer, b"deep").unwrap().node;
    for _ in 0..2 {
        rig.restart();
        assert_eq!(rig.info()["lost"], serde_json::json!([]));
        let guest = rig.guest();
        assert_eq!(guest.resolve("/outer").unwrap(), outer);
        assert_eq!(guest.resolve("/outer/deep/inner/dir/file").unwrap(), file);
        // What the directory has besides is in it still.
        let beside = guest.lookup(deep, b"beside").unwrap().node;
        assert_eq!(guest.read(beside, 0, 0, 10).unwrap(), b"beside");
        // The session is the same: of each round there is one more.
        guest.forget(beside, 1).unwrap();
    }
    // Each path was resolved from the start.
    let guest = rig.guest();
    guest.forget(outer, 2 + 2 * 2).unwrap();
    guest.forget(deep, 2 + 2).unwrap();
    let (status, text) = rig.ask("DELETE", "/api/v1/mount?mountpoint=/outer/deep/inner", "");
    assert_eq!(status, 204, "{text}");
    for node in [outer, deep] {
        stale(rig.guest().attributes(node));
    }
    rig.restart();
    for node in [outer, deep] {
        stale(rig.guest().attributes(node));
    }
}

/// What a mount inside another is put into.
fn outer(root: &std::path::Path) -> std::io::Result<()> {
    fs::create_dir_all(root.join("outer/deep"))?;
    fs::write(root.join("outer/deep/beside"), b"beside")
}

#[test]
fn references_of_a_mount_inside_a_directory_are_not_the_guests() {
    let source = place("recovered-");
    outer(source.path()).unwrap();
    let line = ["--shared-dir".into(), source.path().into()];
    only_the_guests_references_are_kept(&mut Rig::new(&line));
}

#[test]
fn references_of_a_mount_inside_an_image_are_not_the_guests() {
    let image = image::build(outer, &[]).unwrap();
    only_the_guests_references_are_kept(&mut Rig::new(&image.arguments()));
}
