//! Reads that were pending when the daemon was killed.

use std::sync::atomic::Ordering;

use crate::rig::{FILES, Rig, STYLES, answers, config, content, read, until};
use crate::support::session::Session;
use crate::support::session::wire::{Body, op};

/// The contents of files 1 to `count`.
fn contents(count: usize) -> Vec<Vec<u8>> {
    (1..=count).map(content).collect()
}

#[test]
fn reads_that_were_pending_complete_with_right_bytes() {
    for style in STYLES {
        let mut rig = Rig::new();
        let (mut guest, nodes) = rig.guest(&config(style));
        rig.hang(true);
        let tickets: Vec<_> = nodes[1..]
            .iter()
            .map(|&node| read(&mut guest, node))
            .collect();
        guest.flush(1).unwrap();
        rig.await_fetches(1);
        rig.kill();
        rig.hang(false);
        rig.start();
        guest.reconnect().unwrap();
        assert!(answers(&mut guest, &tickets) == contents(FILES - 1));
        // And the queue goes on.
        assert!(guest.read(nodes[1], 0, 0, 9000).unwrap() == content(1)[..9000]);
    }
}

#[test]
fn two_kills_during_one_read() {
    for style in STYLES {
        let mut rig = Rig::new();
        let (mut guest, nodes) = rig.guest(&config(style));
        rig.hang(true);
        let ticket = read(&mut guest, nodes[1]);
        guest.flush(1).unwrap();
        rig.await_fetches(1);
        rig.kill();
        rig.hang(true);
        rig.start();
        guest.reconnect().unwrap();
        rig.await_fetches(1);
        rig.kill();
        rig.hang(false);
        rig.start();
        guest.reconnect().unwrap();
        assert!(answers(&mut guest, &[ticket]) == contents(1));
    }
}

#[test]
fn requests_that_are_made_while_no_daemon_lives_are_served() {
    for style in STYLES {
        let mut rig = Rig::new();
        let (mut guest, nodes) = rig.guest(&config(style));
        rig.hang(true);
        let mut tickets = vec![read(&mut guest, nodes[1])];
        guest.flush(1).unwrap();
        rig.await_fetches(1);
        rig.kill();
        tickets.extend([read(&mut guest, nodes[2]), read(&mut guest, nodes[3])]);
        guest.flush(1).unwrap();
        rig.hang(false);
        rig.start();
        guest.reconnect().unwrap();
        assert!(answers(&mut guest, &tickets) == contents(3));
    }
}

#[test]
fn requests_that_nobody_took_are_not_lost() {
    for style in STYLES {
        let mut rig = Rig::new();
        let (mut guest, nodes) = rig.guest(&config(style));
        // A daemon that stands still takes nothing.
        rig.daemon()
            .signal(nix::sys::signal::Signal::SIGSTOP)
            .unwrap();
        let tickets: Vec<_> = nodes[1..4]
            .iter()
            .map(|&node| read(&mut guest, node))
            .collect();
        guest.flush(1).unwrap();
        rig.kill();
        rig.start();
        guest.reconnect().unwrap();
        assert!(answers(&mut guest, &tickets) == contents(3));
    }
}

/// One read hangs while more others complete than the ring has entries, so that its
/// place in the available ring is another's.
#[test]
fn read_that_others_overtook_by_more_than_a_ring_completes() {
    for style in STYLES {
        let mut rig = Rig::new();
        let mut config = config(style);
        config.queue_size = 64;
        let (mut guest, nodes) = rig.guest(&config);
        rig.hang(true);
        let slow = read(&mut guest, nodes[1]);
        guest.flush(1).unwrap();
        rig.await_fetches(1);
        for _ in 0..80 {
            let quick = [read(&mut guest, nodes[0]), read(&mut guest, nodes[0])];
            guest.flush(1).unwrap();
            assert!(answers(&mut guest, &quick) == [content(0), content(0)]);
        }
        rig.kill();
        rig.hang(false);
        rig.start();
        guest.reconnect().unwrap();
        assert!(answers(&mut guest, &[slow]) == contents(1));
        assert!(guest.read(nodes[2], 0, 0, 9000).unwrap() == content(2)[..9000]);
    }
}

#[test]
fn forget_comes_back() {
    for style in STYLES {
        let mut rig = Rig::new();
        let (mut guest, nodes) = rig.guest(&config(style));
        rig.daemon()
            .signal(nix::sys::signal::Signal::SIGSTOP)
            .unwrap();
        let body = Body::default().u64(1).0;
        let forget = guest.submit(0, op::FORGET, nodes[5], &body, None).unwrap();
        guest.flush(0).unwrap();
        rig.kill();
        rig.start();
        guest.reconnect().unwrap();
        let reply = guest.complete(0).unwrap();
        assert_eq!(reply.ticket, forget);
        guest.finish(reply).unwrap();
    }
}

#[test]
fn another_guest_after_a_crash_gets_nothing_served_again() {
    for style in STYLES {
        let mut rig = Rig::new();
        let mut config = config(style);
        config.queues = 2;
        let (mut first, nodes) = rig.guest(&config);
        rig.hang(true);
        read(&mut first, nodes[1]);
        // On this queue nothing was answered, so that its indices are as in a new one.
        let body = Body::read(0, 0, 4096).0;
        first
            .submit(2, op::READ, nodes[2], &body, Some(4096))
            .unwrap();
        first.flush(1).unwrap();
        first.flush(2).unwrap();
        rig.await_fetches(1);
        rig.kill();
        drop(first);
        rig.hang(false);
        rig.start();
        // Its rings are at the same addresses, with the same heads.
        let mut second = Session::mount(&rig.socket(), &config).unwrap();
        let node = second.resolve("file-3").unwrap();
        for queue in [1, 2] {
            second.queue = queue;
            assert!(second.read(node, 0, 0, 9000).unwrap() == content(3)[..9000]);
            // One reply to each request, and none to what the first guest asked for.
            let ring = &second.frontend.queues[queue].ring;
            assert_eq!(ring.seen, ring.avail_index);
            assert!(second.try_complete(queue).unwrap().is_none());
        }
        let said = rig.daemon().complaints();
        assert!(!said.contains("served again"), "{said}");
    }
}

#[test]
fn guest_is_interrupted_for_what_came_before_the_crash() {
    for style in STYLES {
        let mut rig = Rig::new();
        let (mut guest, nodes) = rig.guest(&config(style));
        // Its reply reaches the ring; that the interrupt did not is played.
        let ticket = read(&mut guest, nodes[0]);
        guest.flush(1).unwrap();
        let used = guest.frontend.queues[1].ring.used + 2;
        let seen = guest.frontend.queues[1].ring.seen;
        let ram = guest.frontend.ram.clone();
        until("the read is answered", || {
            ram.load::<u16>(used, Ordering::Acquire).unwrap() != seen
        });
        rig.kill();
        guest.frontend.queues[1].ring.drain().unwrap();
        rig.start();
        guest.reconnect().unwrap();
        until("the guest is interrupted", || {
            guest.frontend.queues[1].ring.call.read().is_ok()
        });
        assert!(answers(&mut guest, &[ticket]) == [content(0)]);
    }
}
