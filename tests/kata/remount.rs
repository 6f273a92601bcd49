//! An image that is replaced under its readers.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clients::Client;
use crate::rig::{api, assert_done, image_body, mount, start, until};
use crate::support::frontend::Config;
use crate::support::image::{self, Image};
use crate::support::session::Session;

/// Remounts while a guest reads.
const ROUNDS: usize = 100;

const LEN: usize = 200_000;

/// An image whose file says, all over, which one it is.
fn versions() -> [Image; 2] {
    [b'a', b'b'].map(|byte| {
        image::build(
            |root| {
                std::fs::create_dir(root.join("dir"))?;
                std::fs::write(root.join("dir/file"), vec![byte; LEN])
            },
            &[],
        )
        .unwrap()
    })
}

/// Reads the file whole; which version it is.
fn version(guest: &mut Session, node: u64) -> u8 {
    let read = guest.read(node, 0, 0, LEN).unwrap();
    assert_eq!(read.len(), LEN);
    assert!(read.iter().all(|byte| *byte == read[0]));
    read[0]
}

#[test]
fn what_is_open_stays_old_and_what_is_looked_up_is_new() {
    let [old, new] = versions();
    for at in ["/rafs/1/lowerdir", "/"] {
        let daemon = start(&[]);
        mount(&daemon, at, &old);
        let mut guest = daemon.mount(&Config::default()).unwrap();
        let root = guest.resolve(at).unwrap();
        let dir = guest.lookup(root, b"dir").unwrap().node;
        let file = guest.lookup(dir, b"file").unwrap().node;
        // Not all of it, so that the rest is fetched after the remount.
        assert_eq!(guest.read(file, 0, 0, 4096).unwrap()[0], b'a');
        let body = image_body(&daemon, &new);
        assert_done(&Client::Rust.remount(&api(&daemon), at, &body));
        let fresh = guest.resolve(&format!("{at}/dir/file")).unwrap();
        assert_eq!(version(&mut guest, fresh), b'b');
        assert_eq!(version(&mut guest, file), b'a');
        // A directory that is remembered still leads to what it led to.
        let again = guest.lookup(dir, b"file").unwrap().node;
        assert_eq!(again, file);
        assert_eq!(version(&mut guest, again), b'a');
        guest.forget(file, 2).unwrap();
        guest.forget(dir, 1).unwrap();
        if at != "/" {
            guest.forget(root, 1).unwrap();
        }
        // Nobody holds the old image any more: its files are closed.
        let old = old.bootstrap();
        until("the old image is let go of", || {
            let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
            let mut open = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
            !open.any(|file| file == old)
        });
        assert!(guest.attributes(file).is_err());
        assert_eq!(version(&mut guest, fresh), b'b');
    }
}

#[test]
fn no_read_fails_while_images_are_replaced_again_and_again() {
    let images = versions();
    let daemon = start(&[]);
    let socket = api(&daemon);
    mount(&daemon, "/a", &images[0]);
    let bodies = images.each_ref().map(|image| image_body(&daemon, image));
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let done = &done;
        let changes = scope.spawn(move || {
            for round in 1..=ROUNDS {
                assert_done(&Client::Go.remount(&socket, "/a", &bodies[round % 2]));
                done.store(round, Ordering::Release);
            }
        });
        let mut held = None;
        while !changes.is_finished() {
            let before = done.load(Ordering::Acquire);
            let root = guest.lookup(1, b"a").unwrap().node;
            let dir = guest.lookup(root, b"dir").unwrap().node;
            let file = guest.lookup(dir, b"file").unwrap().node;
            let seen = version(&mut guest, file);
            if before == done.load(Ordering::Acquire) && before == ROUNDS {
                assert_eq!(seen, if ROUNDS.is_multiple_of(2) { b'a' } else { b'b' });
            }
            // One file is kept through several remounts.
            match held {
                None => held = Some((file, seen)),
                Some((kept, wanted)) => {
                    assert_eq!(version(&mut guest, kept), wanted);
                    guest.forget(kept, 1).unwrap();
                    held = Some((file, seen));
                }
            }
            guest.forget(dir, 1).unwrap();
            guest.forget(root, 1).unwrap();
        }
        changes.join().unwrap();
    });
    let file = guest.resolve("/a/dir/file").unwrap();
    let wanted = if ROUNDS.is_multiple_of(2) { b'a' } else { b'b' };
    assert_eq!(version(&mut guest, file), wanted);
}
