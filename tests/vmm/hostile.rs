//! Regions of requests in flight that lie.

use std::fs::File;
use std::os::unix::fs::FileExt;

use vhost::vhost_user::message::VhostUserInflight;

use crate::rig::{Rig, config, content, read};
use crate::support::frontend::Style;
use crate::support::session::wire::{Body, op};

/// Bytes in front of a queue's entries, and of an entry.
const HEAD: usize = 16;

/// A guest in the place of the one before, whatever that one did.
fn next_is_served(rig: &mut Rig) {
    let (mut guest, nodes) = rig.guest(&config(Style::Inflight));
    assert!(guest.read(nodes[1], 0, 0, 60_000).unwrap() == content(1));
    assert!(rig.daemon().ended().unwrap().is_none());
}

#[test]
fn regions_that_may_be_cut_short_or_are_too_small_are_refused() {
    let mut rig = Rig::new();
    let (guest, _) = rig.guest(&config(Style::Inflight));
    let (told, _) = guest.frontend.inflight.as_ref().unwrap();
    let told = *told;
    drop(guest);
    for (len, unlike) in [
        // As long as it says, but a file that its owner may shorten.
        (told.mmap_size, told),
        (100, told),
        (
            told.mmap_size,
            VhostUserInflight::new(64, 0, told.num_queues, told.queue_size),
        ),
        (
            told.mmap_size,
            VhostUserInflight::new(u64::MAX, u64::MAX, told.num_queues, told.queue_size),
        ),
    ] {
        let (mut guest, _) = rig.guest(&config(Style::Inflight));
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        guest.frontend.inflight = Some((unlike, file));
        assert!(
            guest.reconnect().is_err(),
            "{len} bytes, {} said",
            unlike.mmap_size
        );
        drop(guest);
        next_is_served(&mut rig);
    }
}

#[test]
fn bytes_of_a_hostile_region_do_no_harm() {
    let mut rig = Rig::new();
    for byte in [0, 1, 0x7f, 0xff] {
        let (mut guest, nodes) = rig.guest(&config(Style::Inflight));
        read(&mut guest, nodes[0]);
        let (told, file) = guest.frontend.inflight.as_ref().unwrap();
        let len = usize::try_from(told.mmap_size).unwrap();
        file.write_all_at(&vec![byte; len], 0).unwrap();
        // The header of each queue is sound, so that the entries are looked at.
        let each = len / usize::from(told.num_queues);
        for queue in 0..usize::from(told.num_queues) {
            let at = (queue * each + 8) as u64;
            file.write_all_at(&1u16.to_le_bytes(), at).unwrap();
            file.write_all_at(&told.queue_size.to_le_bytes(), at + 2)
                .unwrap();
        }
        guest.reconnect().unwrap();
        // What the guest gets is its own affair; that the thread of the queue has
        // come through is seen from its end.
        guest.frontend.stop(1).unwrap();
        drop(guest);
        next_is_served(&mut rig);
    }
}

/// A head that is said to be in flight is served at once, once.
#[test]
fn forget_in_flight_comes_back_and_is_not_repeated() {
    let mut rig = Rig::new();
    let (mut guest, nodes) = rig.guest(&config(Style::Inflight));
    rig.kill();
    let body = Body::default().u64(1).0;
    let forget = guest.submit(0, op::FORGET, nodes[5], &body, None).unwrap();
    let (_, file): &(_, File) = guest.frontend.inflight.as_ref().unwrap();
    // With indirect tables the slot is the head; queue 0 is in front.
    file.write_all_at(&[1], (HEAD + HEAD * forget.slot) as u64)
        .unwrap();
    rig.start();
    guest.reconnect().unwrap();
    let reply = guest.complete(0).unwrap();
    assert_eq!(reply.ticket, forget);
    guest.finish(reply).unwrap();
    assert!(rig.daemon().complaints().contains("served again"));
    // The node has the reference that it had.
    assert!(guest.read(nodes[5], 0, 0, 9000).unwrap() == content(5)[..9000]);
    let again = guest.submit(0, op::FORGET, nodes[5], &body, None).unwrap();
    guest.flush(0).unwrap();
    assert_eq!(guest.complete(0).unwrap().ticket, again);
    assert!(guest.try_complete(0).unwrap().is_none());
}
