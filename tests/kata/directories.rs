//! Directories of the host among images.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::clients::{BOTH, Client, ask};
use crate::rig::{api, assert_done, mount, start};
use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::image::{self, FILE};
use crate::support::session::wire::{Body, ROOT};
use crate::support::session::{Answer, Session};

const SYMLINK: u32 = 6;
const MKNOD: u32 = 8;
const MKDIR: u32 = 9;
const UNLINK: u32 = 10;
const RMDIR: u32 = 11;
const LINK: u32 = 13;
const CREATE: u32 = 35;
const RENAME2: u32 = 45;
const COPY_FILE_RANGE: u32 = 47;
const SYNCFS: u32 = 50;

fn directory() -> TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(dir.path().join("file"), "content").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/inner"), "inner").unwrap();
    dir
}

fn body(dir: &TempDir, config: &str) -> String {
    json!({"fs_type": "passthrough_fs", "source": dir.path(), "config": config}).to_string()
}

fn attach(daemon: &Daemon, at: &str, dir: &TempDir) {
    assert_done(&Client::Go.mount(&api(daemon), at, &body(dir, "")));
}

/// Check 9.
#[test]
fn both_runtimes_mount_a_directory() {
    for client in BOTH {
        for connected in [false, true] {
            let (daemon, dir) = (start(&[]), directory());
            let before = connected.then(|| daemon.mount(&Config::default()).unwrap());
            assert_done(&client.mount(&api(&daemon), "/containers", &body(&dir, "")));
            let mut guest = before.unwrap_or_else(|| daemon.mount(&Config::default()).unwrap());
            let node = guest.resolve("/containers/sub/inner").unwrap();
            let handle = guest.open(node).unwrap();
            assert_eq!(guest.read(node, handle, 0, 100).unwrap(), b"inner");
            guest.release(node, handle).unwrap();
            let again = client.mount(&api(&daemon), "/containers", &body(&dir, ""));
            assert_eq!(again.status, 500);
            assert_done(&client.unmount(&api(&daemon), "/containers"));
            let gone = guest.attributes(node).unwrap_err();
            assert_eq!(gone.errno(), Some(libc::ESTALE));
            assert_done(&client.mount(&api(&daemon), "/containers", &body(&dir, "")));
            guest.resolve("/containers/file").unwrap();
        }
    }
}

fn errno(guest: &mut Session, opcode: u32, node: u64, body: &[u8]) -> i32 {
    let outcome: Answer<Vec<u8>> = guest.raw(opcode, node, body, 4096);
    outcome.unwrap_err().errno().unwrap()
}

fn rename(from: &[u8], to: u64, name: &[u8]) -> Vec<u8> {
    let head = Body::default().u64(to).u32(0).u32(0);
    head.name(from).name(name).0
}

/// A directory at the root, an image and another directory in front of names in it.
#[test]
fn mounts_in_a_directory_are_borders() {
    let (daemon, dir, other, image) = (
        start(&[]),
        directory(),
        directory(),
        image::small().unwrap(),
    );
    attach(&daemon, "/", &dir);
    mount(&daemon, "/sub/image", &image);
    attach(&daemon, "/other", &other);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let guest = &mut guest;
    guest.resolve(&format!("/sub/image/{FILE}")).unwrap();
    let file = guest.resolve("/file").unwrap();
    let sub = guest.resolve("/sub").unwrap();
    let inside = guest.resolve("/other").unwrap();
    let image = guest.resolve("/sub/image").unwrap();
    let inner = guest.resolve("/sub/inner").unwrap();
    // Nothing is moved or linked over a border.
    for to in [inside, image] {
        let body = rename(b"file", to, b"new");
        assert_eq!(errno(guest, RENAME2, ROOT, &body), libc::EXDEV);
        let link = Body::default().u64(file).name(b"new").0;
        let refused = errno(guest, LINK, to, &link);
        assert!([libc::EXDEV, libc::EROFS].contains(&refused), "{refused}");
    }
    let from = rename(b"file", ROOT, b"new");
    assert_eq!(errno(guest, RENAME2, inside, &from), libc::EXDEV);
    let theirs = guest.resolve("/other/file").unwrap();
    let (one, two) = (guest.open(file).unwrap(), guest.open(theirs).unwrap());
    let copy = Body::default()
        .u64(one)
        .u64(0)
        .u64(theirs)
        .u64(two)
        .u64(0)
        .u64(7);
    assert_eq!(
        errno(guest, COPY_FILE_RANGE, file, &copy.u64(0).0),
        libc::EXDEV
    );
    // Names of the tree are taken, and stay.
    let mkdir = Body::default().u32(0o755).u32(0).name(b"other").0;
    assert_eq!(errno(guest, MKDIR, ROOT, &mkdir), libc::EEXIST);
    let symlink = Body::default().name(b"other").name(b"target").0;
    assert_eq!(errno(guest, SYMLINK, ROOT, &symlink), libc::EEXIST);
    let mknod = Body::default()
        .u32(libc::S_IFREG | 0o644)
        .u32(0)
        .u32(0)
        .u32(0);
    assert_eq!(
        errno(guest, MKNOD, sub, &mknod.name(b"image").0),
        libc::EEXIST
    );
    let flags = (libc::O_CREAT | libc::O_RDWR).cast_unsigned();
    let create = Body::default().u32(flags).u32(0o644).u32(0).u32(0);
    assert_eq!(
        errno(guest, CREATE, ROOT, &create.name(b"other").0),
        libc::EEXIST
    );
    let link = Body::default().u64(file).name(b"image").0;
    assert_eq!(errno(guest, LINK, sub, &link), libc::EEXIST);
    assert_eq!(errno(guest, RMDIR, ROOT, b"other\0"), libc::EBUSY);
    assert_eq!(errno(guest, UNLINK, sub, b"image\0"), libc::EBUSY);
    let body = rename(b"other", sub, b"moved");
    assert_eq!(errno(guest, RENAME2, ROOT, &body), libc::EBUSY);
    let body = rename(b"file", sub, b"image");
    assert_eq!(errno(guest, RENAME2, ROOT, &body), libc::EBUSY);
    // Images are what they are.
    let mkdir = Body::default().u32(0o755).u32(0).name(b"new").0;
    assert_eq!(errno(guest, MKDIR, image, &mkdir), libc::EROFS);
    // Within a mount all of it is done.
    guest.raw(MKDIR, inside, &mkdir, 128).unwrap();
    assert!(other.path().join("new").is_dir());
    let body = rename(b"inner", ROOT, b"outer");
    guest.raw(RENAME2, sub, &body, 0).unwrap();
    assert_eq!(fs::read(dir.path().join("outer")).unwrap(), b"inner");
    assert!(guest.attributes(inner).is_ok());
    // A session that begins anew finds the same.
    guest.init().unwrap();
    guest.resolve(&format!("/sub/image/{FILE}")).unwrap();
    // What was hidden is there again.
    fs::create_dir(dir.path().join("other")).unwrap();
    fs::write(dir.path().join("other/hidden"), "").unwrap();
    assert!(guest.resolve("/other/hidden").is_err());
    assert_done(&Client::Go.unmount(&api(&daemon), "/other"));
    guest.resolve("/other/hidden").unwrap();
    let other = guest.resolve("/other").unwrap();
    guest.raw(UNLINK, other, b"hidden\0", 0).unwrap();
    guest.raw(RMDIR, ROOT, b"other\0", 0).unwrap();
}

/// A directory that is replaced under its users: they keep the old one.
#[test]
fn a_directory_is_remounted_under_open_files() {
    let (daemon, old, new) = (start(&[]), directory(), directory());
    fs::write(new.path().join("file"), "new").unwrap();
    attach(&daemon, "/containers", &old);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let node = guest.resolve("/containers/file").unwrap();
    let handle = guest.open(node).unwrap();
    assert_done(&Client::Go.remount(&api(&daemon), "/containers", &body(&new, "")));
    assert_eq!(guest.read(node, handle, 0, 100).unwrap(), b"content");
    let now = guest.resolve("/containers/file").unwrap();
    assert_eq!(guest.read(now, 0, 0, 100).unwrap(), b"new");
}

/// SYNCFS is for all mounts of the device.
#[test]
fn all_directories_are_flushed_at_once() {
    let (daemon, one, other) = (start(&[]), directory(), directory());
    attach(&daemon, "/one", &one);
    attach(&daemon, "/two/other", &other);
    mount(&daemon, "/rafs", &image::small().unwrap());
    let mut guest = daemon.mount(&Config::default()).unwrap();
    for at in ["/", "/one", "/two", "/two/other", "/rafs"] {
        let node = guest.resolve(at).unwrap();
        guest
            .raw(SYNCFS, node, &Body::default().u64(0).0, 0)
            .unwrap();
    }
    assert_done(&Client::Go.unmount(&api(&daemon), "/one"));
    guest
        .raw(SYNCFS, ROOT, &Body::default().u64(0).0, 0)
        .unwrap();
}

/// What the API tells of directories.
#[test]
fn directories_are_shown_and_counted() {
    let (daemon, dir) = (start(&[]), directory());
    attach(&daemon, "/containers", &dir);
    let quiet = json!({"cache": "never", "read_only": true}).to_string();
    assert_done(&Client::Go.mount(&api(&daemon), "/quiet", &body(&dir, &quiet)));
    mount(&daemon, "/rafs/1", &image::small().unwrap());
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let node = guest.resolve("/containers/file").unwrap();
    let handle = guest.open(node).unwrap();
    guest.read(node, handle, 0, 100).unwrap();
    let seen = Client::Rust.daemon(&api(&daemon)).json();
    let shown = &seen["backend_collection"]["/containers"];
    assert_eq!(shown["backend_type"], "PassthroughFs", "{seen}");
    assert_eq!(shown["mountpoint"], "/containers");
    assert!(shown["mounted_time"].is_string());
    assert_eq!(seen["backend_collection"].as_object().unwrap().len(), 3);
    let info = ask(&api(&daemon), "GET", "/api/v1/tidegate/info", "").json();
    let told = &info["directories"]["/containers"];
    assert_eq!(told["source"], dir.path().to_str().unwrap(), "{info}");
    assert_eq!(
        (&told["cache"], &told["read_only"]),
        (&json!("auto"), &json!(false))
    );
    assert_eq!((&told["nodes"], &told["open"]), (&json!(1), &json!(1)));
    assert_eq!(info["directories"]["/quiet"]["cache"], "never");
    assert_eq!(info["directories"]["/quiet"]["read_only"], true);
    let metrics = ask(&api(&daemon), "GET", "/api/v1/metrics?id=/containers", "").json();
    assert_eq!(metrics["data_read"], 7, "{metrics}");
    let text = ask(&api(&daemon), "GET", "/metrics", "").body;
    for line in [
        "tidegate_directory_nodes{mountpoint=\"/containers\"} 1",
        "tidegate_directory_open_files{mountpoint=\"/containers\"} 1",
        "tidegate_fuse_read_bytes_total{mountpoint=\"/containers\"} 7",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // Only images have these.
    let none = ask(
        &api(&daemon),
        "GET",
        "/api/v1/metrics/blobcache?id=/containers",
        "",
    );
    assert_eq!(none.status, 404);
    // One image among directories need not be named.
    let only = ask(&api(&daemon), "GET", "/api/v1/metrics/blobcache", "");
    assert_eq!(only.status, 200);
    assert_done(&Client::Go.unmount(&api(&daemon), "/containers"));
    let seen = Client::Rust.daemon(&api(&daemon)).json();
    assert_eq!(seen["backend_collection"].as_object().unwrap().len(), 2);
}
