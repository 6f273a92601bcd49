//! A VMM's side of the socket, as small as it can be: connect, INIT, READ,
//! stop, disconnect, again.
#![allow(clippy::unwrap_used, reason = "a failure ends the test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidegate::virtio::{ServeError, ServeOptions, Shutdown, serve};
use tidegate::{destination, fs as fs_api};
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

mod memory_fs;

use memory_fs::{HELLO, MemoryFs, SLOW, content};

const SIZE: usize = 1 << 20;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const REQUEST: u64 = 0x4000;
const REPLY: u64 = 0x8_0000;
/// The first queue for requests.
const QUEUE: usize = 1;

struct Rig {
    fs: Arc<MemoryFs>,
    socket: PathBuf,
    shutdown: Shutdown,
    server: Option<JoinHandle<Result<(), ServeError>>>,
    _dir: tempfile::TempDir,
}

impl Rig {
    fn new(exit_on_disconnect: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("fs.sock");
        let mut options = ServeOptions::new(&socket);
        options.exit_on_disconnect = exit_on_disconnect;
        let fs = Arc::new(MemoryFs::new());
        let shutdown = Shutdown::new().unwrap();
        let (ready, is_ready) = channel();
        let (served, hook) = (fs.clone(), shutdown.clone());
        let server =
            thread::spawn(move || serve(&options, served, &hook, || ready.send(()).unwrap()));
        is_ready.recv().unwrap();
        Self {
            fs,
            socket,
            shutdown,
            server: Some(server),
            _dir: dir,
        }
    }

    fn join(&mut self) {
        self.server.take().unwrap().join().unwrap().unwrap();
        assert!(!self.socket.exists());
    }
}

struct Vmm {
    frontend: Frontend,
    memory: GuestMemoryMmap,
    kick: EventFd,
    call: EventFd,
    asked: u16,
}

impl Vmm {
    fn connect(socket: &Path) -> Self {
        let mut frontend = Frontend::connect(socket, 5).unwrap();
        frontend.set_owner().unwrap();
        let features = frontend.get_features().unwrap();
        // VERSION_1, EVENT_IDX, INDIRECT_DESC and LOG_ALL.
        assert_eq!(
            features,
            (1 << 32) | (1 << 29) | (1 << 28) | (1 << 26) | (1 << 30)
        );
        frontend
            .set_features(features & !((1 << 29) | (1 << 26)))
            .unwrap();
        let protocol = frontend.get_protocol_features().unwrap();
        assert!(protocol.contains(
            VhostUserProtocolFeatures::INFLIGHT_SHMFD | VhostUserProtocolFeatures::LOG_SHMFD
        ));
        assert!(!protocol.intersects(
            VhostUserProtocolFeatures::SHMEM | VhostUserProtocolFeatures::DEVICE_STATE
        ));
        frontend.set_protocol_features(protocol).unwrap();
        frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        assert_eq!(frontend.get_queue_num().unwrap(), 5);

        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE as u64).unwrap();
        let backing = Some(FileOffset::new(file, 0));
        let memory =
            GuestMemoryMmap::from_ranges_with_files([(GuestAddress(0), SIZE, backing)]).unwrap();
        let region = memory.iter().next().unwrap();
        let region = VhostUserMemoryRegionInfo::from_guest_region(region).unwrap();
        frontend.set_mem_table(&[region]).unwrap();

        let base = memory.get_host_address(GuestAddress(0)).unwrap() as u64;
        let config = VringConfigData {
            queue_max_size: 64,
            queue_size: 64,
            flags: 0,
            desc_table_addr: base,
            used_ring_addr: base + USED,
            avail_ring_addr: base + AVAILABLE,
            log_addr: None,
        };
        let kick = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let call = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        frontend.set_vring_num(QUEUE, 64).unwrap();
        frontend.set_vring_addr(QUEUE, &config).unwrap();
        frontend.set_vring_base(QUEUE, 0).unwrap();
        frontend.set_vring_call(QUEUE, &call).unwrap();
        frontend.set_vring_kick(QUEUE, &kick).unwrap();
        frontend.set_vring_enable(QUEUE, true).unwrap();
        Self {
            frontend,
            memory,
            kick,
            call,
            asked: 0,
        }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(at))
            .unwrap();
        bytes
    }

    fn used(&self) -> u16 {
        u16::from_le_bytes(self.read(USED + 2, 2).try_into().unwrap())
    }

    /// Sends a request without waiting.
    fn send(&mut self, opcode: u32, node: u64, body: &[u8]) {
        let len = u32::try_from(40 + body.len()).unwrap();
        let header = [
            &len.to_le_bytes()[..],
            &opcode.to_le_bytes(),
            &7u64.to_le_bytes(),
            &node.to_le_bytes(),
            &[0; 16],
        ];
        self.write(REQUEST, &[&header.concat(), body].concat());
        let descriptor = |address: u64, len: u32, flags: u16| {
            let address = address.to_le_bytes();
            let tail = [flags.to_le_bytes(), 1u16.to_le_bytes()].concat();
            [&address[..], &len.to_le_bytes(), &tail].concat()
        };
        self.write(0, &descriptor(REQUEST, len, 1));
        self.write(16, &descriptor(REPLY, 0x7_0000, 2));
        let slot = AVAILABLE + 4 + 2 * u64::from(self.asked % 64);
        self.write(slot, &0u16.to_le_bytes());
        self.asked += 1;
        self.write(AVAILABLE + 2, &self.asked.to_le_bytes());
        self.kick.write(1).unwrap();
    }

    /// Waits for the reply: its errno and data.
    fn receive(&self) -> (i32, Vec<u8>) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.used() != self.asked || self.call.read().is_err() {
            assert!(Instant::now() < end, "no reply");
            thread::yield_now();
        }
        self.reply()
    }

    fn reply(&self) -> (i32, Vec<u8>) {
        let word = |at| u32::from_le_bytes(self.read(at, 4).try_into().unwrap());
        let len = usize::try_from(word(REPLY)).unwrap();
        let error = word(REPLY + 4).cast_signed();
        (-error, self.read(REPLY + 16, len - 16))
    }

    fn ask(&mut self, opcode: u32, node: u64, body: &[u8]) -> (i32, Vec<u8>) {
        self.send(opcode, node, body);
        self.receive()
    }

    fn init(&mut self) {
        let body = [7u32, 38, 131_072, 0].map(u32::to_le_bytes).concat();
        let (errno, data) = self.ask(26, 0, &body);
        assert_eq!((errno, data.len()), (0, 64));
    }
}

fn read_in(size: u32) -> Vec<u8> {
    let mut body = vec![0; 40];
    body[16..20].copy_from_slice(&size.to_le_bytes());
    body
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn guests_come_and_go_and_leave_nothing_open() {
    let mut rig = Rig::new(false);
    let mut open = Vec::new();
    for _ in 0..6 {
        let mut vmm = Vmm::connect(&rig.socket);
        vmm.init();
        let (errno, data) = vmm.ask(15, HELLO, &read_in(0x7_0000 - 16));
        assert_eq!((errno, data), (0, content()));
        open.push(descriptors());
    }
    assert_eq!(rig.fs.inits(), 6);
    // The previous device may still be closing in the first rounds.
    assert!(open[5] <= open[1] + 2, "{open:?}");
    rig.shutdown.stop();
    rig.join();
}

#[test]
fn stop_of_a_queue_does_not_hang_on_a_slow_read() {
    let mut rig = Rig::new(true);
    let mut vmm = Vmm::connect(&rig.socket);
    vmm.init();
    vmm.send(15, SLOW, &read_in(100));
    let begin = Instant::now();
    // The read is taken or left in the ring; if taken, it is answered.
    let base = vmm.frontend.get_vring_base(QUEUE).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(base, u32::from(vmm.used()));
    let before = vmm.read(0, SIZE);
    rig.fs.release(10);
    assert_eq!(vmm.read(0, SIZE), before);
    drop(vmm);
    rig.join();
}

#[test]
fn nonsense_ends_its_connection_and_no_other() {
    use std::io::Write as _;
    let mut rig = Rig::new(false);
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 4096],
        &[0; 12],
        b"x",
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(&rig.socket).unwrap();
        stream.write_all(nonsense).unwrap();
        drop(stream);
    }
    Vmm::connect(&rig.socket).init();
    rig.shutdown.stop();
    rig.join();
}

#[test]
fn stop_ends_a_server_that_has_a_guest() {
    let mut rig = Rig::new(false);
    let mut vmm = Vmm::connect(&rig.socket);
    vmm.init();
    vmm.send(15, SLOW, &read_in(100));
    rig.shutdown.remove_socket();
    assert!(!rig.socket.exists());
    rig.shutdown.stop();
    rig.join();
}

#[test]
fn kick_without_a_kick_does_not_end_the_queue() {
    let mut rig = Rig::new(false);
    let mut vmm = Vmm::connect(&rig.socket);
    vmm.init();
    // A new event takes the place of the old one, which the VMM still holds
    // and writes to: its count is then not where the server looks for it.
    let old = std::mem::replace(&mut vmm.kick, EventFd::new(libc::EFD_NONBLOCK).unwrap());
    vmm.frontend.set_vring_kick(QUEUE, &vmm.kick).unwrap();
    vmm.frontend.set_vring_enable(QUEUE, true).unwrap();
    old.write(1).unwrap();
    for _ in 0..100 {
        vmm.init();
    }
    rig.shutdown.stop();
    rig.join();
}
