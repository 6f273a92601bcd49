//! Reads that were pending when the daemon was killed.

use std::sync::atomic::Ordering;

use nix::sys::signal::Signal;

use crate::rig::{FILES, Rig, STYLES, answers, config, content, read, until};
use crate::support::frontend::Config;
use crate::support::session::wire::{Body, op};
use crate::support::session::{Session, Ticket};

/// A guest, and a daemon that it survives.
struct Crash {
    rig: Rig,
    guest: Session,
    nodes: Vec<u64>,
}

impl Crash {
    /// Tries something in each of the styles in which a VMM takes up a device.
    fn in_each_style(test: impl Fn(Self)) {
        Self::in_each(|_| {}, test);
    }

    /// The same with guests that are otherwise.
    fn in_each(otherwise: impl Fn(&mut Config), test: impl Fn(Self)) {
        for style in STYLES {
            let rig = Rig::new();
            let mut config = config(style);
            otherwise(&mut config);
            let (guest, nodes) = rig.guest(&config);
            test(Self { rig, guest, nodes });
        }
    }

    /// Has the guest read files.
    fn read(&mut self, files: &[usize]) -> Vec<Ticket> {
        let files = files.iter();
        let tickets = files.map(|&file| read(&mut self.guest, self.nodes[file]));
        let tickets = tickets.collect();
        self.guest.flush(1).unwrap();
        tickets
    }

    /// Has the guest read files, and the daemon wait for their source.
    fn pending(&mut self, files: &[usize]) -> Vec<Ticket> {
        self.rig.hang(true);
        let tickets = self.read(files);
        self.rig.await_fetches(1);
        tickets
    }

    /// A daemon that stands still takes nothing.
    fn stand_still(&mut self) {
        self.rig.daemon().signal(Signal::SIGSTOP).unwrap();
    }

    /// The next daemon, whose source answers.
    fn begin_again(&mut self) {
        self.rig.hang(false);
        self.rig.start();
        self.guest.reconnect().unwrap();
    }

    fn crash(&mut self) {
        self.rig.kill();
        self.begin_again();
    }

    /// Awaits what was read of these files.
    fn await_contents(&mut self, tickets: &[Ticket], files: &[usize]) {
        let found = answers(&mut self.guest, tickets);
        assert!(found == files.iter().map(|&file| content(file)).collect::<Vec<_>>());
    }

    /// The queue goes on.
    fn goes_on(&mut self, file: usize) {
        let found = self.guest.read(self.nodes[file], 0, 0, 9000).unwrap();
        assert!(found == content(file)[..9000]);
    }
}

#[test]
fn reads_that_were_pending_complete_with_right_bytes() {
    Crash::in_each_style(|mut it| {
        let all: Vec<_> = (1..FILES).collect();
        let tickets = it.pending(&all);
        it.crash();
        it.await_contents(&tickets, &all);
        it.goes_on(1);
    });
}

#[test]
fn two_kills_during_one_read() {
    Crash::in_each_style(|mut it| {
        let tickets = it.pending(&[1]);
        it.rig.kill();
        it.rig.hang(true);
        it.rig.start();
        it.guest.reconnect().unwrap();
        it.rig.await_fetches(1);
        it.crash();
        it.await_contents(&tickets, &[1]);
    });
}

#[test]
fn requests_that_are_made_while_no_daemon_lives_are_served() {
    Crash::in_each_style(|mut it| {
        let mut tickets = it.pending(&[1]);
        it.rig.kill();
        tickets.extend(it.read(&[2, 3]));
        it.begin_again();
        it.await_contents(&tickets, &[1, 2, 3]);
    });
}

#[test]
fn requests_that_nobody_took_are_not_lost() {
    Crash::in_each_style(|mut it| {
        it.stand_still();
        let tickets = it.read(&[1, 2, 3]);
        it.crash();
        it.await_contents(&tickets, &[1, 2, 3]);
    });
}

/// One read hangs while more others complete than the ring has entries, so that its
/// place in the available ring is another's.
#[test]
fn read_that_others_overtook_by_more_than_a_ring_completes() {
    let small = |config: &mut Config| config.queue_size = 64;
    Crash::in_each(small, |mut it| {
        let slow = it.pending(&[1]);
        for _ in 0..80 {
            let quick = it.read(&[0, 0]);
            it.await_contents(&quick, &[0, 0]);
        }
        it.crash();
        it.await_contents(&slow, &[1]);
        it.goes_on(2);
    });
}

#[test]
fn forget_comes_back() {
    Crash::in_each_style(|mut it| {
        it.stand_still();
        let body = Body::default().u64(1).0;
        let node = it.nodes[5];
        let forget = it.guest.submit(0, op::FORGET, node, &body, None).unwrap();
        it.guest.flush(0).unwrap();
        it.crash();
        let reply = it.guest.complete(0).unwrap();
        assert_eq!(reply.ticket, forget);
        it.guest.finish(reply).unwrap();
    });
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
    Crash::in_each_style(|mut it| {
        // Its reply reaches the ring; that the interrupt did not is played.
        let tickets = it.read(&[0]);
        let used = it.guest.frontend.queues[1].ring.used + 2;
        let seen = it.guest.frontend.queues[1].ring.seen;
        let ram = it.guest.frontend.ram.clone();
        until("the read is answered", || {
            ram.load::<u16>(used, Ordering::Acquire).unwrap() != seen
        });
        it.rig.kill();
        it.guest.frontend.queues[1].ring.drain().unwrap();
        it.begin_again();
        until("the guest is interrupted", || {
            it.guest.frontend.queues[1].ring.call.read().is_ok()
        });
        it.await_contents(&tickets, &[0]);
    });
}
