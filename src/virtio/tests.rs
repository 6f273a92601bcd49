//! Promises of a queue, against rings laid by hand.

use std::io::{PipeReader, Read as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use vhost_user_backend::VringT;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

use super::queue::{BUDGET, Queue};
use super::{Memory, Ring};
use crate::fuse::Server;
use crate::fuse::memory_fs::{HELLO, MemoryFs, ROOT, SLOW, content};
use crate::fuse::tests::{read_in, request};
use crate::socket::{SocketError, listen};

const ENTRIES: u16 = 64;
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
/// Two regions meet here; memory ends at twice the address.
const BORDER: u64 = 0x10_0000;
const REQUEST: u64 = 0x8000;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

const GETATTR: u32 = 3;
const READ: u32 = 15;
const FSYNC: u32 = 20;

struct Rig {
    fs: Arc<MemoryFs>,
    queue: Queue,
    vring: Ring,
    memory: Memory,
    /// Every interrupt puts 8 bytes in here.
    interrupts: PipeReader,
    available: u16,
}

impl Rig {
    fn new() -> Self {
        let size = usize::try_from(BORDER).unwrap();
        let ranges = [(GuestAddress(0), size), (GuestAddress(BORDER), size)];
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::from_ranges(&ranges).unwrap());
        let vring = Ring::new(memory.clone(), 1024).unwrap();
        vring.set_queue_size(ENTRIES);
        vring.set_queue_info(DESCRIPTORS, AVAILABLE, USED).unwrap();
        vring.set_queue_event_idx(false);
        vring.set_enabled(true);
        vring.set_queue_ready(true);
        let (interrupts, call) = std::io::pipe().unwrap();
        rustix::fs::fcntl_setfl(&interrupts, rustix::fs::OFlags::NONBLOCK).unwrap();
        vring.set_call(Some(OwnedFd::from(call).into()));
        let fs = Arc::new(MemoryFs::new());
        let server = Arc::new(Server::new(fs.clone()));
        let budget = Arc::new(Semaphore::new(BUDGET));
        Self {
            fs,
            queue: Queue::new(1, server, memory.clone(), budget, Duration::ZERO),
            vring,
            memory,
            interrupts,
            available: 0,
        }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let memory = self.memory.memory();
        memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let memory = self.memory.memory();
        memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    fn read_u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.read(at, 4).try_into().unwrap())
    }

    fn describe(&self, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let at = DESCRIPTORS + 16 * u64::from(index);
        self.write(at, &descriptor(address, len, flags, next));
    }

    /// Makes the chain at `head` available.
    fn offer(&mut self, head: u16) {
        let at = AVAILABLE + 4 + 2 * u64::from(self.available % ENTRIES);
        self.write(at, &head.to_le_bytes());
        self.available = self.available.wrapping_add(1);
        self.write(AVAILABLE + 2, &self.available.to_le_bytes());
    }

    /// Offers a request at descriptors `head` and `head + 1`, with one buffer
    /// for the reply.
    fn ask(&mut self, head: u16, request: &[u8], reply: u64, room: u32) {
        let at = REQUEST + 0x100 * u64::from(head);
        self.write(at, request);
        let len = u32::try_from(request.len()).unwrap();
        self.describe(head, at, len, NEXT, head + 1);
        self.describe(head + 1, reply, room, WRITE, 0);
        self.offer(head);
    }

    fn process(&self) {
        self.queue.process(&self.vring, &mut Vec::new());
    }

    /// Entries of the used ring: head and length.
    fn used(&self) -> Vec<(u32, u32)> {
        let index = self.read(USED + 2, 2);
        let index = u16::from_le_bytes(index.try_into().unwrap());
        (0..u64::from(index))
            .map(|entry| USED + 4 + 8 * entry)
            .map(|at| (self.read_u32(at), self.read_u32(at + 4)))
            .collect()
    }

    /// Waits until so many entries are used.
    fn wait_used(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.used().len() < count {
            assert!(Instant::now() < end, "no completion");
            std::thread::yield_now();
        }
    }

    /// The errno of the reply at `reply`.
    fn errno(&self, reply: u64) -> i32 {
        -self.read_u32(reply + 4).cast_signed()
    }

    /// Whether the queue still answers a sound request.
    fn is_alive(&mut self) -> bool {
        let before = self.used().len();
        self.ask(60, &request(GETATTR, ROOT, &[0; 16]), BORDER, 200);
        self.process();
        self.used().get(before) == Some(&(60, 120))
    }
}

fn descriptor(address: u64, len: u32, flags: u16, next: u16) -> Vec<u8> {
    [
        &address.to_le_bytes()[..],
        &len.to_le_bytes(),
        &flags.to_le_bytes(),
        &next.to_le_bytes(),
    ]
    .concat()
}

impl Rig {
    /// Interrupts since the last call.
    fn interrupts(&mut self) -> usize {
        let mut bytes = [0; 4096];
        self.interrupts.read(&mut bytes).unwrap_or(0) / 8
    }

    fn stop(&self, grace: Duration) {
        self.vring.set_queue_ready(false);
        let reads = Instant::now() + grace;
        self.queue
            .flight
            .stop(reads, reads + Duration::from_secs(30));
    }
}

#[test]
fn reply_crosses_regions_and_descriptors() {
    let mut rig = Rig::new();
    rig.write(REQUEST, &request(READ, HELLO, &read_in(3, 5000)));
    rig.describe(0, REQUEST, 50, NEXT, 1);
    rig.describe(1, REQUEST + 50, 30, NEXT, 2);
    rig.describe(2, 0x9000, 16, NEXT | WRITE, 3);
    rig.describe(3, BORDER - 1000, 3000, NEXT | WRITE, 4);
    rig.describe(4, 0xa000, 2000, WRITE, 0);
    rig.offer(0);
    rig.process();
    assert_eq!(rig.used(), [(0, 5016)]);
    assert_eq!(rig.read(BORDER - 1000, 3000), content()[3..3003]);
    assert_eq!(rig.read(0xa000, 2000), content()[3003..5003]);
    assert_eq!(rig.interrupts(), 1);
}

/// Puts ten small reads into the ring at once and serves them.
fn serve_ten_reads(rig: &mut Rig) {
    for head in 0..10 {
        rig.ask(
            2 * head,
            &request(READ, HELLO, &read_in(0, 4096)),
            0x2_0000,
            4112,
        );
    }
    rig.process();
}

#[test]
fn each_reply_is_signalled_at_once_to_a_guest_that_asks_for_it() {
    let mut rig = Rig::new();
    serve_ten_reads(&mut rig);
    assert_eq!((rig.used().len(), rig.interrupts()), (10, 10));
}

#[test]
fn a_batch_is_one_interrupt_for_a_guest_that_is_busy_with_the_first() {
    let mut rig = Rig::new();
    rig.vring.set_queue_event_idx(true);
    // It wants to hear of the first reply and will look for the others itself.
    rig.write(AVAILABLE + 4 + 2 * u64::from(ENTRIES), &0u16.to_le_bytes());
    serve_ten_reads(&mut rig);
    assert_eq!((rig.used().len(), rig.interrupts()), (10, 1));
}

#[test]
fn guest_that_polls_is_not_interrupted() {
    let mut rig = Rig::new();
    rig.vring.set_queue_event_idx(true);
    // It wants to hear of the third reply, index 2.
    rig.write(AVAILABLE + 4 + 2 * u64::from(ENTRIES), &2u16.to_le_bytes());
    for (head, interrupts) in [(0, 0), (2, 0), (4, 1), (6, 0)] {
        rig.ask(head, &request(GETATTR, ROOT, &[0; 16]), 0x2_0000, 200);
        rig.process();
        assert_eq!(rig.interrupts(), interrupts, "{head}");
    }
    // And it kicks on the next request, index 4.
    assert_eq!(rig.read(USED + 4 + 8 * u64::from(ENTRIES), 2), [4, 0]);
}

#[test]
fn waiting_read_lets_others_pass() {
    let mut rig = Rig::new();
    rig.ask(0, &request(READ, SLOW, &read_in(1, 9000)), 0x2_0000, 9016);
    rig.ask(2, &request(GETATTR, ROOT, &[0; 16]), BORDER, 120);
    rig.process();
    assert_eq!(rig.used(), [(2, 120)]);
    rig.fs.release(1);
    rig.wait_used(2);
    assert_eq!(rig.used()[1], (0, 9016));
    assert_eq!(rig.read(0x2_0010, 9000), content()[1..9001]);
}

#[test]
fn stop_waits_for_reads_that_come_in_time() {
    let mut rig = Rig::new();
    rig.ask(0, &request(READ, SLOW, &read_in(0, 100)), 0x2_0000, 200);
    rig.process();
    let fs = rig.fs.clone();
    let release = std::thread::spawn(move || fs.release(1));
    rig.stop(Duration::from_secs(30));
    assert_eq!(rig.used(), [(0, 116)]);
    assert_eq!(rig.errno(0x2_0000), 0);
    release.join().unwrap();
}

#[test]
fn stop_cancels_reads_that_do_not_and_nothing_is_written_after_it() {
    let mut rig = Rig::new();
    for head in 0..20 {
        rig.ask(
            2 * head,
            &request(READ, SLOW, &read_in(0, 100)),
            0x2_0000,
            200,
        );
    }
    rig.process();
    let begin = Instant::now();
    rig.stop(Duration::from_millis(20));
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(rig.used().len(), 20);
    assert_eq!(rig.errno(0x2_0000), libc::EINTR);
    let before = rig.read(0, 0x10_0000);
    rig.fs.release(100);
    // A stopped ring is not looked at either.
    rig.ask(60, &request(GETATTR, ROOT, &[0; 16]), BORDER, 200);
    let before_used = rig.used();
    rig.process();
    assert_eq!(rig.used(), before_used);
    assert_eq!(rig.read(0x2_0000, 0x1000), before[0x2_0000..0x2_1000]);
    // And it can be started again.
    rig.vring.set_queue_ready(true);
    rig.process();
    assert_eq!(rig.used().len(), 21);
}

#[test]
fn stop_waits_for_what_changes_something() {
    let mut rig = Rig::new();
    rig.fs.syncs.store(true, SeqCst);
    rig.ask(0, &request(FSYNC, SLOW, &[0; 16]), 0x2_0000, 200);
    rig.ask(2, &request(READ, SLOW, &read_in(0, 100)), BORDER, 200);
    rig.process();
    assert_eq!(rig.used(), []);
    std::thread::scope(|scope| {
        scope.spawn(|| rig.stop(Duration::ZERO));
        // The read is called off, and the other not.
        rig.wait_used(1);
        assert_eq!((rig.used()[0].0, rig.errno(BORDER)), (2, libc::EINTR));
        rig.fs.release(1);
    });
    assert_eq!(rig.used()[1], (0, 16));
    assert_eq!(rig.errno(0x2_0000), 0);
}

#[test]
fn stop_does_not_wait_for_ever() {
    let mut rig = Rig::new();
    rig.fs.syncs.store(true, SeqCst);
    rig.ask(0, &request(FSYNC, SLOW, &[0; 16]), 0x2_0000, 200);
    rig.process();
    let now = Instant::now();
    rig.queue.flight.stop(now, now + Duration::from_millis(20));
    assert_eq!(rig.errno(0x2_0000), libc::EINTR);
}

#[test]
fn closed_queue_serves_nothing_any_more() {
    let mut rig = Rig::new();
    rig.ask(0, &request(READ, SLOW, &read_in(0, 100)), 0x2_0000, 200);
    rig.process();
    rig.queue.flight.close(Instant::now());
    assert_eq!(rig.used(), [(0, 16)]);
    assert!(!rig.is_alive());
}

#[test]
fn chains_that_make_no_sense_are_given_back_with_an_error() {
    let sound = request(GETATTR, ROOT, &[0; 16]);
    let end = 2 * BORDER;
    // (reply address, room, used length)
    for (address, room, len) in [
        (end, 200, 0),
        (end - 8, 200, 0),
        (end - 16, 200, 16),
        (end - 100, 200, 16),
        (end - 200, 200, 120),
        (u64::MAX - 10, 200, 0),
        (0x2_0000, u32::MAX, 0),
        (0x2_0000, 0, 0),
        (0x2_0000, 15, 0),
        (0x2_0000, 16, 16),
    ] {
        let mut rig = Rig::new();
        rig.ask(0, &sound, address, room);
        rig.process();
        // 4 GiB of room make the chain too long to be legal, not unanswerable.
        let used = rig.used();
        assert_eq!(used.len(), 1, "{address:x} {room}");
        if room != u32::MAX {
            assert_eq!(used, [(0, len)], "{address:x} {room}");
        }
        if len == 16 {
            assert_ne!(rig.errno(address), 0);
        }
        assert!(rig.is_alive());
    }
}

#[test]
fn requests_out_of_memory_or_without_end_are_answered() {
    let mut rig = Rig::new();
    let sound = request(GETATTR, ROOT, &[0; 16]);
    // The body lies behind the end of memory.
    rig.write(REQUEST, &sound);
    rig.describe(0, REQUEST, 40, NEXT, 1);
    rig.describe(1, 2 * BORDER, 16, NEXT, 2);
    rig.describe(2, 0x2_0000, 200, WRITE, 0);
    rig.offer(0);
    // The successor is no descriptor.
    rig.describe(10, REQUEST, 56, NEXT, 11);
    rig.describe(11, 0x2_1000, 200, NEXT | WRITE, 5000);
    rig.offer(10);
    // A loop.
    rig.describe(20, REQUEST, 56, NEXT, 21);
    rig.describe(21, 0x2_2000, 200, NEXT | WRITE, 20);
    rig.offer(20);
    // No descriptor for the reply; none for the request.
    rig.describe(30, REQUEST, 56, 0, 0);
    rig.offer(30);
    rig.describe(31, 0x2_3000, 200, WRITE, 0);
    rig.offer(31);
    // An indirect table of 7 bytes.
    rig.describe(32, REQUEST, 7, INDIRECT, 0);
    rig.offer(32);
    rig.process();
    assert_eq!(
        rig.used(),
        [(0, 16), (10, 16), (20, 16), (30, 0), (31, 0), (32, 0)]
    );
    for reply in [0x2_0000, 0x2_1000, 0x2_2000] {
        assert_eq!(rig.errno(reply), libc::EFAULT);
    }
    assert!(rig.is_alive());
}

#[test]
fn indirect_chains_are_served() {
    let mut rig = Rig::new();
    rig.write(REQUEST, &request(GETATTR, ROOT, &[0; 16]));
    let table = [
        descriptor(REQUEST, 56, NEXT, 1),
        descriptor(0x2_0000, 120, WRITE, 0),
    ];
    rig.write(0x7000, &table.concat());
    rig.describe(0, 0x7000, 32, INDIRECT, 0);
    rig.offer(0);
    rig.process();
    assert_eq!(rig.used(), [(0, 120)]);
}

#[test]
fn heads_and_indices_that_lie_do_not_end_the_queue() {
    let mut rig = Rig::new();
    rig.offer(60000);
    rig.process();
    assert!(rig.used().is_empty());
    assert!(rig.is_alive());
    // The index jumps by more than the ring holds.
    let sound = rig.available;
    rig.write(AVAILABLE + 2, &sound.wrapping_add(2000).to_le_bytes());
    rig.process();
    rig.write(AVAILABLE + 2, &sound.to_le_bytes());
    assert!(rig.is_alive());
}

#[test]
fn rings_outside_memory_are_left_alone() {
    for (available, used) in [
        (2 * BORDER, USED),
        (2 * BORDER - 4, USED),
        (AVAILABLE, 2 * BORDER),
    ] {
        let mut rig = Rig::new();
        rig.ask(0, &request(GETATTR, ROOT, &[0; 16]), 0x2_0000, 200);
        if available != AVAILABLE {
            rig.write(2 * BORDER - 2, &5u16.to_le_bytes());
        }
        rig.vring
            .set_queue_info(DESCRIPTORS, available, used)
            .unwrap();
        rig.process();
        rig.vring
            .set_queue_info(DESCRIPTORS, AVAILABLE, USED)
            .unwrap();
    }
}

#[test]
fn socket_is_private_replaced_when_stale_and_refused_when_live() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vhost.sock");
    let (listener, file) = listen(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(listen(&path), Err(SocketError::InUse(_))));
    drop(listener);
    let (listener, newer) = listen(&path).unwrap();
    // The first owner does not remove what has taken its place.
    drop(file);
    assert!(path.exists());
    drop((listener, newer));
    assert!(!path.exists());
    std::fs::write(&path, b"mine").unwrap();
    assert!(matches!(listen(&path), Err(SocketError::NotASocket(_))));
    let nowhere = dir.path().join("no/such/dir");
    let error = listen(&nowhere).unwrap_err().to_string();
    assert!(error.contains("no/such/dir"));
}
