//! What a guest sees of mounts that come and go.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::clients::{Client, ask};
use crate::rig::{api, assert_done, image_body, mount, start};
use crate::support::frontend::Config;
use crate::support::image::{self, FILE, FILE_LEN};
use crate::support::session::wire::{Body, Entry, Fields, ROOT, op};
use crate::support::session::{Answer, Session};

/// LOOKUP without taking a negative entry for an error.
fn lookup(guest: &mut Session, parent: u64, name: &[u8]) -> Answer<Entry> {
    let body = Body::default().name(name).0;
    let raw = guest.raw(op::LOOKUP, parent, &body, Entry::LEN)?;
    Ok(Entry::parse(&mut Fields(&raw)))
}

/// Check 16.
#[test]
fn a_new_mount_is_seen_though_its_name_was_looked_up_before() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let absent = lookup(&mut guest, ROOT, b"rafs").unwrap();
    assert_eq!((absent.node, absent.entry_valid), (0, 0));
    mount(&daemon, "/rafs/one/lowerdir", &image);
    let rafs = lookup(&mut guest, ROOT, b"rafs").unwrap();
    assert!(rafs.node != 0 && rafs.entry_valid == 0 && rafs.attr_valid == 0);
    let absent = lookup(&mut guest, rafs.node, b"two").unwrap();
    assert_eq!((absent.node, absent.entry_valid), (0, 0));
    mount(&daemon, "/rafs/two/lowerdir", &image);
    let two = lookup(&mut guest, rafs.node, b"two").unwrap();
    let root = lookup(&mut guest, two.node, b"lowerdir").unwrap();
    assert_eq!((root.entry_valid, two.entry_valid), (0, 0));
    // Inside, an image is what it always was: it does not change.
    let data = lookup(&mut guest, root.node, b"data").unwrap();
    assert!(data.entry_valid > 3600);
    let absent = lookup(&mut guest, data.node, b"none").unwrap();
    assert!(absent.node == 0 && absent.entry_valid > 3600);
    assert_done(&Client::Go.unmount(&api(&daemon), "/rafs/one/lowerdir"));
    let gone = lookup(&mut guest, rafs.node, b"one").unwrap();
    assert_eq!((gone.node, gone.entry_valid), (0, 0));
}

/// Check 15.
#[test]
fn readers_of_one_mount_do_not_notice_others() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    let socket = api(&daemon);
    let body = image_body(&daemon, &image);
    mount(&daemon, "/stays", &image);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let file = guest.resolve(&format!("/stays/{FILE}")).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &over;
        let changes = scope.spawn(move || {
            for _ in 0..40 {
                assert_done(&Client::Go.mount(&socket, "/goes/a", &body));
                assert_done(&Client::Go.unmount(&socket, "/goes/a"));
            }
            over.store(true, Ordering::Release);
        });
        let mut reads = 0;
        while !over.load(Ordering::Acquire) && !changes.is_finished() {
            let read = guest.read(file, 0, 0, FILE_LEN).unwrap();
            assert_eq!(read.len(), FILE_LEN);
            guest.resolve("/stays/hello").unwrap();
            reads += 1;
        }
        changes.join().unwrap();
        assert!(reads > 0);
    });
}

/// Check 15.
#[test]
fn what_is_held_of_an_unmounted_image_is_stale() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    mount(&daemon, "/a", &image);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let root = guest.resolve("/a").unwrap();
    let file = guest.resolve(&format!("/a/{FILE}")).unwrap();
    guest.read(file, 0, 0, 4096).unwrap();
    assert_done(&Client::Go.unmount(&api(&daemon), "/a"));
    for outcome in [
        guest.read(file, 0, 0, 4096).map(drop),
        guest.attributes(root).map(drop),
        guest.lookup(root, b"hello").map(drop),
        guest.list(root, true).map(drop),
    ] {
        let failure = outcome.unwrap_err();
        assert_eq!(failure.errno(), Some(libc::ESTALE), "{failure}");
    }
    guest.forget(file, 1).unwrap();
    guest.forget(root, 2).unwrap();
    mount(&daemon, "/a", &image);
    guest.resolve(&format!("/a/{FILE}")).unwrap();
}

#[test]
fn mounts_may_lie_inside_images() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    for at in ["/data/empty/deep", "/", "/many", "/data/new/one"] {
        mount(&daemon, at, &image);
    }
    let mut guest = daemon.mount(&Config::default()).unwrap();
    for path in [
        FILE,
        "/data/empty/deep/hello",
        "/many/hello",
        "/data/new/one/hello",
    ] {
        guest
            .resolve(path)
            .unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let data = guest.resolve("/data").unwrap();
    for plus in [false, true] {
        let listed = guest.list(data, plus).unwrap();
        let mut names: Vec<_> = listed.iter().map(|entry| entry.name.as_slice()).collect();
        names.sort_unstable();
        assert_eq!(names, [&b"empty"[..], b"new", b"noise"]);
    }
    assert_done(&Client::Go.unmount(&api(&daemon), "/many"));
    guest.resolve("/many/entry-007").unwrap();
    assert_done(&Client::Go.unmount(&api(&daemon), "/"));
    guest.resolve("/data/empty/deep/hello").unwrap();
    assert!(guest.resolve("/hello").is_err());
}

#[test]
fn requests_are_counted_for_each_mount() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    for at in ["/a", "/b"] {
        mount(&daemon, at, &image);
    }
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let file = guest.resolve(&format!("/a/{FILE}")).unwrap();
    guest.read(file, 0, 0, FILE_LEN).unwrap();
    guest.resolve("/b/hello").unwrap();
    let read = |id: &str| {
        let answer = ask(
            &api(&daemon),
            "GET",
            &format!("/api/v1/metrics?id={id}"),
            "",
        );
        answer.json()["data_read"].as_u64().unwrap()
    };
    assert_eq!((read("/a"), read("/b")), (FILE_LEN as u64, 0));
}
