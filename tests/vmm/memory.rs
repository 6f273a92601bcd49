//! Memory that is plugged in and pulled out while requests are served (check 29 of
//! Kata's contract).

use std::fs::File;

use rustix::fs::MemfdFlags;
use vhost::VhostUserMemoryRegionInfo;
use vhost::vhost_user::VhostUserFrontend as _;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap};

use crate::rig::{FILES, LEN, Rig, answers, config, content, read};
use crate::support::frontend::ring::{Descriptor, NEXT, WRITE};
use crate::support::frontend::{Config, Style};
use crate::support::session::Session;
use crate::support::session::wire::{Body, message, op};

/// Where memory is plugged in, and how much.
const AT: u64 = 1 << 33;
const SIZE: usize = 4 << 20;

/// Descriptors behind those of the slots.
const HEAD: u16 = 200;

struct Plugged(GuestMemoryMmap);

impl Plugged {
    fn new() -> Self {
        let file = File::from(rustix::fs::memfd_create("more", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(SIZE as u64).unwrap();
        let range = (GuestAddress(AT), SIZE, Some(FileOffset::new(file, 0)));
        Self(GuestMemoryMmap::from_ranges_with_files([range]).unwrap())
    }

    fn told(&self) -> VhostUserMemoryRegionInfo {
        let region = self.0.iter().next().unwrap();
        VhostUserMemoryRegionInfo::from_guest_region(region).unwrap()
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }
}

/// Puts a READ of a file on queue 1 that is answered in the plugged memory.
fn read_into(guest: &mut Session, node: u64) {
    let body = Body::read(0, 0, u32::try_from(LEN).unwrap()).0;
    let request = message(op::READ, 77, node, &body);
    let at = guest.frontend.ram.alloc(128, 8).unwrap();
    guest.frontend.ram.write(at, &request).unwrap();
    let ring = &mut guest.frontend.queues[1].ring;
    let chain = [
        (at, request.len(), NEXT, HEAD + 1),
        (AT, 16, NEXT | WRITE, HEAD + 2),
        (AT + 4096, LEN, WRITE, 0),
    ];
    for (index, (address, length, flags, next)) in (HEAD..).zip(chain) {
        let length = u32::try_from(length).unwrap();
        let descriptor = Descriptor {
            address,
            length,
            flags,
            next,
        };
        ring.describe(index, descriptor).unwrap();
    }
    ring.offer(HEAD).unwrap();
    ring.notify().unwrap();
}

/// Waits for it.
fn used(guest: &mut Session) -> u32 {
    let timeout = guest.frontend.timeout();
    let used = guest.frontend.queues[1].ring.take(timeout).unwrap();
    let used = used.unwrap();
    assert_eq!(used.head, u32::from(HEAD));
    used.length
}

fn ample() -> Config {
    let mut config = config(Style::Available);
    config.queues = 2;
    config
}

#[test]
fn memory_comes_and_goes_while_reads_wait() {
    let rig = Rig::new();
    let (mut guest, nodes) = rig.guest(&ample());
    let plugged = Plugged::new();
    let slots = guest.frontend.messages().get_max_mem_slots().unwrap();
    assert!(slots > 8, "{slots}");
    // The first time, reads wait for the source.
    rig.registry.change(|settings| settings.rtt_ms = 300.0);
    rig.registry.reset();
    for round in 0..20 {
        let tickets: Vec<_> = nodes[1..]
            .iter()
            .map(|&node| read(&mut guest, node))
            .collect();
        guest.flush(1).unwrap();
        if round == 0 {
            rig.await_fetches(1);
        }
        let messages = guest.frontend.messages();
        messages.add_mem_region(&plugged.told()).unwrap();
        let found = answers(&mut guest, &tickets);
        assert!(found == (1..FILES).map(content).collect::<Vec<_>>());
        read_into(&mut guest, nodes[1]);
        assert_eq!(used(&mut guest), 16 + u32::try_from(LEN).unwrap());
        assert!(plugged.bytes(AT + 4096, LEN) == content(1));
        // And out again, under reads elsewhere.
        let tickets: Vec<_> = nodes.iter().map(|&node| read(&mut guest, node)).collect();
        guest.flush(1).unwrap();
        let messages = guest.frontend.messages();
        messages.remove_mem_region(&plugged.told()).unwrap();
        let found = answers(&mut guest, &tickets);
        assert!(found == (0..FILES).map(content).collect::<Vec<_>>());
        // What is not there any more is not written to.
        plugged.0.write_slice(&[7; 8192], GuestAddress(AT)).unwrap();
        read_into(&mut guest, nodes[1]);
        assert_eq!(used(&mut guest), 0);
        assert_eq!(plugged.bytes(AT, 8192), [7; 8192]);
    }
}

#[test]
fn memory_that_is_pulled_from_under_a_read_harms_nobody() {
    let rig = Rig::new();
    let (mut guest, nodes) = rig.guest(&ample());
    let plugged = Plugged::new();
    let messages = guest.frontend.messages();
    messages.add_mem_region(&plugged.told()).unwrap();
    rig.hang(true);
    read_into(&mut guest, nodes[2]);
    rig.await_fetches(1);
    let messages = guest.frontend.messages();
    messages.remove_mem_region(&plugged.told()).unwrap();
    drop(plugged);
    // It is called off; others do not wait for it.
    guest.frontend.stop(1).unwrap();
    guest.queue = 2;
    rig.hang(false);
    assert!(guest.read(nodes[0], 0, 0, LEN).unwrap() == content(0));
}

#[test]
fn regions_that_make_no_sense_are_refused() {
    let mut rig = Rig::new();
    let plugged = Plugged::new();
    let told = |offset: u64| {
        let mut told = plugged.told();
        told.guest_phys_addr = told.guest_phys_addr.wrapping_add(offset);
        told
    };
    // Twice, overlapping, and beyond the last address.
    for offset in [0, 4096, u64::MAX - AT - 8191] {
        let (mut guest, _) = rig.guest(&ample());
        let messages = guest.frontend.messages();
        messages.add_mem_region(&told(0)).unwrap();
        assert!(messages.add_mem_region(&told(offset)).is_err(), "{offset}");
    }
    // What is not there cannot be removed.
    let (mut guest, _) = rig.guest(&ample());
    let messages = guest.frontend.messages();
    assert!(messages.remove_mem_region(&told(0)).is_err());
    drop(guest);
    let (mut guest, nodes) = rig.guest(&ample());
    assert!(guest.read(nodes[1], 0, 0, LEN).unwrap() == content(1));
    assert!(rig.daemon().ended().unwrap().is_none());
}
