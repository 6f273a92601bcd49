//! What a VMM that comes back finds.

use std::time::Duration;

use crate::support::frontend::Config;
use crate::support::image::{self, FILE, FILE_LEN, file_byte};
use crate::support::session::Session;

fn content() -> Vec<u8> {
    (0..FILE_LEN).map(file_byte).collect()
}

#[test]
fn nodes_are_usable_after_a_reconnect_without_init() {
    let image = image::small().unwrap();
    let daemon = image.serve(&[]).unwrap();
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let node = guest.resolve(FILE).unwrap();
    let before = guest.attributes(node).unwrap();
    let agreed = guest.agreed;
    drop(guest);
    for _ in 0..3 {
        let mut guest = Session::connect(daemon.socket(), &Config::default()).unwrap();
        guest.agreed = agreed;
        assert_eq!(guest.attributes(node).unwrap(), before);
        assert!(guest.read(node, 0, 0, FILE_LEN + 1).unwrap() == content());
        // OPEN is still answered as this session was told.
        assert_eq!(guest.open(node).unwrap(), 0);
        assert!(guest.no_open);
    }
}

#[test]
fn init_after_a_reconnect_begins_anew() {
    let image = image::small().unwrap();
    let daemon = image.serve(&[]).unwrap();
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let node = guest.resolve(FILE).unwrap();
    drop(guest);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let stale = guest.attributes(node).unwrap_err();
    assert_eq!(stale.errno(), Some(libc::ESTALE));
    let node = guest.resolve(FILE).unwrap();
    assert!(guest.read(node, 0, 0, FILE_LEN).unwrap() == content());
}

#[test]
fn hundred_reconnects_leave_no_thread_and_no_descriptor_behind() {
    let image = image::small().unwrap();
    let daemon = image.serve(&[]).unwrap();
    let count = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
        (daemon.threads().unwrap(), open.count())
    };
    let mut first = None;
    for _ in 0..100 {
        let mut guest = daemon.mount(&Config::default()).unwrap();
        let node = guest.resolve(FILE).unwrap();
        assert!(guest.read(node, 0, 0, FILE_LEN).unwrap() == content());
        // The next connection is accepted after the last one is cleared away,
        // so counts are compared while one is there.
        first.get_or_insert_with(count);
        drop(guest);
    }
    let _guest = daemon.mount(&Config::default()).unwrap();
    let (threads, open) = count();
    let (threads_before, open_before) = first.unwrap();
    // The threads that fetch end when they have been idle for a while.
    assert!(threads <= threads_before + 2, "{threads} threads");
    assert!(open <= open_before + 2, "{open} descriptors");
}

#[test]
fn exit_on_disconnect_ends_with_status_0() {
    let image = image::small().unwrap();
    let mut daemon = image.serve(&["--exit-on-disconnect"]).unwrap();
    let mut guest = daemon.mount(&Config::default()).unwrap();
    guest.resolve(FILE).unwrap();
    assert!(daemon.ended().unwrap().is_none());
    drop(guest);
    let status = daemon.await_end(Duration::from_secs(5)).unwrap();
    assert_eq!(status.code(), Some(0), "{}", daemon.complaints());
    assert!(!daemon.socket().exists());
    assert!(daemon.last_counters().is_some());
}
