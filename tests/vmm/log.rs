//! The log of pages that the device writes (check 32 of Kata's contract).

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::MemfdFlags;
use vhost::{VhostBackend as _, VhostUserDirtyLogRegion};

use crate::rig::{FILES, LEN, Rig, answers, config, content, read, until};
use crate::support::frontend::{Config, GuestRam, Regions, Style, Wait};
use crate::support::session::Session;
use crate::support::session::wire::{Body, ROOT, op};

const LOG_ALL: u64 = 1 << 26;
const PAGE: usize = 4096;

fn quiet(event_index: bool, regions: Regions) -> Config {
    Config {
        event_index,
        regions,
        // Waiting writes nothing to the rings.
        wait: Wait::Spin,
        ..config(Style::Available)
    }
}

/// The log as its owner sees it.
struct Log {
    file: File,
    len: u64,
}

impl Log {
    fn new(ram: &GuestRam) -> Self {
        let fd = rustix::fs::memfd_create("log", MemfdFlags::CLOEXEC).unwrap();
        let len = ram.end().div_ceil(PAGE as u64).div_ceil(8);
        let file = File::from(fd);
        file.set_len(len).unwrap();
        Self { file, len }
    }

    fn told(&self) -> VhostUserDirtyLogRegion {
        VhostUserDirtyLogRegion {
            mmap_size: self.len,
            mmap_offset: 0,
            mmap_handle: self.file.as_raw_fd(),
        }
    }

    fn bits(&self) -> Vec<u8> {
        let mut bits = vec![0; usize::try_from(self.len).unwrap()];
        self.file.read_exact_at(&mut bits, 0).unwrap();
        bits
    }

    /// Turns logging on in the way of Cloud Hypervisor, which says once more where
    /// the rings are.
    fn begin(&self, guest: &mut Session) {
        let features = guest.frontend.features | LOG_ALL;
        let told = self.told();
        let messages = guest.frontend.messages();
        messages.set_log_base(0, Some(told)).unwrap();
        messages.set_features(features).unwrap();
        for index in 0..guest.frontend.queues.len() {
            let mut addresses = guest.frontend.addresses(index).unwrap();
            addresses.flags = 1;
            addresses.log_addr = Some(guest.frontend.queues[index].ring.used);
            let messages = guest.frontend.messages();
            messages.set_vring_addr(index, &addresses).unwrap();
        }
    }
}

/// All of the guest's memory, by page.
fn pages(ram: &GuestRam) -> Vec<(u64, Vec<u8>)> {
    let table = ram.table().unwrap();
    let starts = table.iter().flat_map(|region| {
        let (start, len) = (region.guest_phys_addr, region.memory_size);
        (start..start + len).step_by(PAGE)
    });
    let read = |at| {
        let mut page = vec![0; PAGE];
        ram.read(at, &mut page).unwrap();
        (at, page)
    };
    starts.map(read).collect()
}

/// Puts requests of several kinds, some of which fail, into a queue that stands still;
/// how many, and where the queue goes on.
fn burst(guest: &mut Session, nodes: &[u64]) -> (usize, u16) {
    let base = guest.frontend.stop(1).unwrap();
    for &node in nodes {
        read(guest, node);
    }
    for (opcode, node, body, room) in [
        (op::LOOKUP, ROOT, b"file-1\0".to_vec(), 128),
        (op::LOOKUP, ROOT, b"absent\0".to_vec(), 128),
        (op::READDIR, ROOT, Body::read(0, 0, 4096).0, 4096),
        (op::GETATTR, 0xdead_beef, vec![0; 16], 104),
    ] {
        guest.submit(1, opcode, node, &body, Some(room)).unwrap();
    }
    (nodes.len() + 4, base)
}

/// Serves what is in the ring, and stops it so that nothing is written any more.
fn serve(guest: &mut Session, (count, base): (usize, u16)) {
    guest.frontend.start(1, base).unwrap();
    for _ in 0..count {
        let reply = guest.complete(1).unwrap();
        // Those that were meant to fail do.
        let _ = guest.finish(reply);
    }
    guest.frontend.stop(1).unwrap();
}

#[test]
fn every_page_that_changed_has_its_bit() {
    for event_index in [true, false] {
        for regions in [Regions::One, Regions::Apart] {
            let rig = Rig::new();
            let (mut guest, nodes) = rig.guest(&quiet(event_index, regions));
            let log = Log::new(&guest.frontend.ram);
            log.begin(&mut guest);
            let all = burst(&mut guest, &nodes);
            let ram = guest.frontend.ram.clone();
            let before = pages(&ram);
            serve(&mut guest, all);
            let after = pages(&ram);
            let bits = log.bits();
            let mut changed = 0;
            for ((at, before), (_, after)) in before.iter().zip(&after) {
                if before == after {
                    continue;
                }
                changed += 1;
                let page = usize::try_from(*at).unwrap() / PAGE;
                let marked = bits[page / 8] & 1 << (page % 8) != 0;
                assert!(marked, "page at {at:#x} (EVENT_IDX {event_index})");
            }
            // All but the file that was read before, and the used ring.
            assert!(changed > (FILES - 1) * LEN / PAGE, "{changed} pages");
            let used = guest.frontend.queues[1].ring.used;
            let page = usize::try_from(used).unwrap() / PAGE;
            assert_ne!(bits[page / 8] & 1 << (page % 8), 0, "the used ring");
            // No more than what the device was given to write to: half of memory is
            // spare.
            let marked: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
            assert!(usize::try_from(marked).unwrap() < before.len() / 2);
        }
    }
}

/// What the device asks the guest for is in the used ring, too, before any reply is.
#[test]
fn used_ring_is_logged_while_all_reads_wait() {
    let rig = Rig::new();
    let (mut guest, nodes) = rig.guest(&quiet(true, Regions::One));
    let log = Log::new(&guest.frontend.ram);
    log.begin(&mut guest);
    rig.hang(true);
    read(&mut guest, nodes[1]);
    let ring = &guest.frontend.queues[1].ring;
    let event = ring.used + 4 + 8 * u64::from(ring.size());
    let wanted = ring.avail_index;
    let ram = guest.frontend.ram.clone();
    guest.flush(1).unwrap();
    until("the device asks for a kick", || {
        ram.load::<u16>(event, Ordering::Acquire).unwrap() == wanted
    });
    let page = usize::try_from(event).unwrap() / PAGE;
    until("its page is logged", || {
        log.bits()[page / 8] & 1 << (page % 8) != 0
    });
    assert!(guest.try_complete(1).unwrap().is_none(), "the read waits");
}

#[test]
fn nothing_is_logged_that_was_not_asked_for() {
    let rig = Rig::new();
    let (mut guest, nodes) = rig.guest(&quiet(true, Regions::One));
    let log = Log::new(&guest.frontend.ram);
    let told = log.told();
    let messages = guest.frontend.messages();
    messages.set_log_base(0, Some(told)).unwrap();
    let all = burst(&mut guest, &nodes);
    serve(&mut guest, all);
    assert!(log.bits().iter().all(|&byte| byte == 0));
    // On, and off again.
    log.begin(&mut guest);
    let features = guest.frontend.features;
    guest.frontend.messages().set_features(features).unwrap();
    let before = log.bits();
    let all = burst(&mut guest, &nodes);
    serve(&mut guest, all);
    assert!(log.bits() == before);
}

/// Where the rings are is said again and again, as at the begin of logging.
#[test]
fn rings_that_are_set_again_while_they_run_lose_no_reply() {
    let rig = Rig::new();
    let (mut guest, nodes) = rig.guest(&config(Style::Available));
    let addresses = guest.frontend.addresses(1).unwrap();
    let messages = guest.frontend.messages().clone();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                messages.set_vring_addr(1, &addresses).unwrap();
            }
        });
        // Joined even if this one panics.
        let served = std::panic::catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..300 {
                let tickets = [0; 8].map(|_| read(&mut guest, nodes[0]));
                guest.flush(1).unwrap();
                let found = answers(&mut guest, &tickets);
                assert!(found.iter().all(|found| *found == content(0)));
            }
        }));
        done.store(true, Ordering::Relaxed);
        served.unwrap();
    });
}

#[test]
fn logs_that_are_too_short_are_refused() {
    let rig = Rig::new();
    for (size, offset) in [(1 << 20, 0), (1, 1 << 20), (0, 0), (u64::MAX, u64::MAX)] {
        let (mut guest, _) = rig.guest(&config(Style::Available));
        let log = Log::new(&guest.frontend.ram);
        let told = VhostUserDirtyLogRegion {
            mmap_size: size,
            mmap_offset: offset,
            ..log.told()
        };
        let messages = guest.frontend.messages();
        assert!(messages.set_log_base(0, Some(told)).is_err(), "{size}");
    }
    let (mut guest, nodes) = rig.guest(&config(Style::Available));
    assert!(guest.read(nodes[1], 0, 0, LEN).unwrap() == content(1));
}
