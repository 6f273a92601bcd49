//! A directory of the host: its nodes and what is open.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use crate::guest::{
    create, created, link, made, mkdir, open, rename, setxattr, symlink, truncate, unlink, write,
};
use crate::mounted::Mounted;
use crate::rig::{Rig, place};
use crate::support::session::wire::ROOT;
use crate::support::session::{Failure, Session};

/// A rig that serves an empty directory, and that directory.
fn rig() -> (Rig, PathBuf) {
    let source = place("recovered-").keep();
    let line = [
        "--shared-dir".into(),
        source.clone().into(),
        "--xattr".into(),
    ];
    (Rig::new(&line), source)
}

fn stale<T: std::fmt::Debug>(answer: Result<T, Failure>) {
    assert_eq!(answer.unwrap_err().errno(), Some(libc::ESTALE));
}

/// Makes a file with some content; node and handle.
pub(crate) fn file(guest: &mut Session, parent: u64, name: &str, content: &[u8]) -> (u64, u64) {
    let made = create(parent, name, libc::O_RDWR).send(guest).unwrap();
    let (node, handle) = created(&made);
    write(node, handle, 0, content).send(guest).unwrap();
    (node, handle)
}

#[test]
fn nodes_and_handles_are_those_of_before() {
    let (mut rig, source) = rig();
    let guest = rig.guest();
    let dir = made(&mkdir(ROOT, "dir").send(guest).unwrap());
    let (node, handle) = file(guest, dir, "file", b"before");
    let target = made(&symlink(dir, "link", "file").send(guest).unwrap());
    let listing = guest.opendir(dir).unwrap();
    let begun = guest.list_once(dir, listing, 0, false).unwrap();
    let forgotten = guest.lookup(ROOT, b"dir").unwrap().node;
    assert_eq!(forgotten, dir);
    guest.forget(dir, 1).unwrap();
    let attributes = guest.attributes(node).unwrap();
    for round in 0..3 {
        rig.restart();
        let guest = rig.guest();
        if round == 0 {
            assert_eq!(guest.attributes(node).unwrap(), attributes);
        }
        assert_eq!(guest.readlink(target).unwrap(), b"file");
        assert_eq!(guest.lookup(dir, b"file").unwrap().node, node);
        let text = format!("after {round}");
        write(node, handle, 0, text.as_bytes()).send(guest).unwrap();
        assert_eq!(guest.read(node, handle, 0, 100).unwrap(), text.as_bytes());
        assert_eq!(fs::read_to_string(source.join("dir/file")).unwrap(), text);
        let rest = guest.list_once(dir, listing, begun[1].offset, false);
        assert_eq!(rest.unwrap().len(), begun.len() - 2);
    }
    // What is closed and forgotten stays so, and its numbers are not used again.
    let guest = rig.guest();
    guest.release(node, handle).unwrap();
    guest.forget(node, 4).unwrap();
    rig.restart();
    let guest = rig.guest();
    stale(guest.attributes(node));
    let (other, opened) = file(guest, dir, "other", b"x");
    assert!(other > node && opened > handle);
    fs::remove_dir_all(source).unwrap();
}

#[test]
fn files_are_followed_to_where_they_went_and_never_mistaken() {
    let (mut rig, source) = rig();
    let guest = rig.guest();
    let dir = made(&mkdir(ROOT, "dir").send(guest).unwrap());
    let other = made(&mkdir(ROOT, "other").send(guest).unwrap());
    let (moved, handle) = file(guest, dir, "moved", b"moved");
    let (replaced, _) = file(guest, dir, "replaced", b"old");
    let (gone, held) = file(guest, dir, "gone", b"gone");
    let (linked, _) = file(guest, dir, "linked", b"linked");
    link(linked, other, "second").send(guest).unwrap();
    unlink(dir, "linked").send(guest).unwrap();
    rename(dir, "moved", other, "away", 0).send(guest).unwrap();
    unlink(dir, "gone").send(guest).unwrap();
    assert_eq!(guest.read(gone, held, 0, 10).unwrap(), b"gone");
    rig.kill();
    // While nobody looks, others work in the directory too.
    fs::rename(source.join("other"), source.join("elsewhere")).unwrap();
    fs::remove_file(source.join("dir/replaced")).unwrap();
    fs::write(source.join("dir/replaced"), b"new").unwrap();
    fs::write(source.join("dir/moved"), b"impostor").unwrap();
    rig.start();
    let guest = rig.guest();
    assert_eq!(guest.read(moved, handle, 0, 10).unwrap(), b"moved");
    assert_eq!(guest.read(linked, 0, 0, 10).unwrap(), b"linked");
    assert_eq!(guest.lookup(other, b"away").unwrap().node, moved);
    stale(guest.attributes(replaced));
    // What had no name went with the process.
    stale(guest.attributes(gone));
    stale(guest.read(gone, held, 0, 10));
    let now = guest.lookup(dir, b"replaced").unwrap().node;
    assert_ne!(now, replaced);
    assert_eq!(guest.read(now, 0, 0, 10).unwrap(), b"new");
    let said = rig.daemon().complaints();
    assert!(
        said.contains("2 files that the guest knows and 2"),
        "{said}"
    );
    fs::remove_dir_all(source).unwrap();
}

#[test]
fn without_the_right_to_handles_names_are_followed() {
    let home = place("recovered-");
    let source = home.path().to_owned();
    let line: Vec<OsString> = vec!["--shared-dir".into(), source.clone().into()];
    let mut rig = Rig::without(&line, "dac_read_search");
    let guest = rig.guest();
    let dir = made(&mkdir(ROOT, "dir").send(guest).unwrap());
    let (moved, handle) = file(guest, dir, "moved", b"moved");
    let (swapped, _) = file(guest, dir, "swapped", b"swapped");
    let (with, _) = file(guest, ROOT, "with", b"with");
    let (replaced, _) = file(guest, dir, "replaced", b"old");
    rename(dir, "moved", ROOT, "away", 0).send(guest).unwrap();
    rename(dir, "swapped", ROOT, "with", 2).send(guest).unwrap();
    rename(ROOT, "dir", ROOT, "named", 0).send(guest).unwrap();
    rig.kill();
    fs::remove_file(source.join("named/replaced")).unwrap();
    fs::write(source.join("named/replaced"), b"new").unwrap();
    rig.start();
    let guest = rig.guest();
    assert_eq!(guest.read(moved, handle, 0, 10).unwrap(), b"moved");
    assert_eq!(guest.read(swapped, 0, 0, 10).unwrap(), b"swapped");
    assert_eq!(guest.read(with, 0, 0, 10).unwrap(), b"with");
    assert_eq!(guest.lookup(dir, b"swapped").unwrap().node, with);
    stale(guest.attributes(replaced));
}

#[test]
fn nodes_below_other_mounts_are_found_in_any_namespace() {
    if !crate::support::mount::is_possible() {
        eprintln!("Skipped: mounting needs root");
        return;
    }
    let home = place("recovered-");
    for dir in ["source", "source/memory", "source/bound", "elsewhere"] {
        fs::create_dir(home.path().join(dir)).unwrap();
    }
    let at = |name: &str| home.path().join("source").join(name);
    let elsewhere = home.path().join("elsewhere");
    let _memory = Mounted::tmpfs("size=1m", at("memory"));
    let _bound = Mounted::bind(&elsewhere, at("bound"));
    let line: Vec<OsString> = vec!["--shared-dir".into(), at("").into()];
    for mut rig in [Rig::new(&line), Rig::aside(&line)] {
        let guest = rig.guest();
        let mut nodes = Vec::new();
        for name in ["memory", "bound"] {
            let _ = fs::remove_file(at(name).join("moved"));
            let dir = guest.lookup(ROOT, name.as_bytes()).unwrap().node;
            let (node, handle) = file(guest, dir, "file", name.as_bytes());
            let shown = guest.attributes(node).unwrap().inode;
            nodes.push((name, node, handle, shown));
        }
        rig.kill();
        // On the tmpfs the kernel's handle leads to it; the other device has two
        // mounts, so in another namespace only the name does.
        fs::rename(at("memory/file"), at("memory/moved")).unwrap();
        rig.start();
        for (name, node, handle, shown) in nodes {
            let guest = rig.guest();
            let read = guest.read(node, handle, 0, 100).unwrap();
            assert_eq!(read, name.as_bytes());
            assert_eq!(guest.attributes(node).unwrap().inode, shown);
        }
        assert_eq!(rig.info()["lost"], serde_json::json!([]));
        fs::remove_file(at("bound/file")).unwrap();
    }
}

#[test]
fn what_a_session_agreed_on_holds() {
    let (mut rig, source) = rig();
    let (node, handle) = file(rig.guest(), ROOT, "file", b"x");
    rig.restart();
    // In the form that INIT agreed on; in the other its name would be another.
    let set = setxattr(node, "user.name", b"value", 0).send(rig.guest());
    set.unwrap();
    assert_eq!(rig.guest().getxattr(node, b"user.name").unwrap(), b"value");
    let appending = open(node, libc::O_WRONLY | libc::O_APPEND | libc::O_TRUNC);
    let opened = appending.send(rig.guest()).unwrap();
    let opened = crate::support::session::wire::Fields(&opened).u64();
    write(node, opened, 0, b"one").send(rig.guest()).unwrap();
    rig.restart();
    // Opened again it is not cut short, and still appends.
    write(node, opened, 0, b"two").send(rig.guest()).unwrap();
    assert_eq!(rig.guest().read(node, handle, 0, 10).unwrap(), b"onetwo");
    truncate(node, 1).send(rig.guest()).unwrap();
    assert_eq!(fs::read(source.join("file")).unwrap(), b"o");
    fs::remove_dir_all(source).unwrap();
}

#[test]
fn another_directory_in_its_place_is_not_taken() {
    let (mut rig, source) = rig();
    let (node, _) = file(rig.guest(), ROOT, "file", b"x");
    rig.kill();
    fs::remove_dir_all(&source).unwrap();
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), b"y").unwrap();
    rig.start();
    stale(rig.guest().attributes(node));
    stale(rig.guest().attributes(ROOT));
    assert_eq!(rig.info()["lost"], serde_json::json!(["/"]));
    fs::remove_dir_all(source).unwrap();
}
