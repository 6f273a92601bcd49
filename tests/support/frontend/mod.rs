//! A vhost-user frontend without a VMM: it plays the guest's memory, the
//! driver of the virtio-fs device and the VMM's side of the socket.
//!
//! The guest's memory and rings outlive a connection: see
//! [`Frontend::reconnect`].

pub mod queue;
pub mod ram;
pub mod ring;
pub mod style;

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vhost::vhost_user::message::{
    VhostUserHeaderFlag, VhostUserInflight, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Frontend as Messages, VhostUserFrontend};
use vhost::{VhostBackend, VringConfigData};

pub use queue::{Cut, Done, Queue};
pub use ram::{GuestRam, Regions};
pub use ring::{Descriptor, Wait};
pub use style::Style;

const VERSION_1: u64 = 1 << 32;
const EVENT_INDEX: u64 = 1 << 29;
const INDIRECT: u64 = 1 << 28;

/// How the guest is built.
#[derive(Debug, Clone)]
pub struct Config {
    /// Request queues; the high-priority queue comes on top.
    pub queues: usize,
    /// Descriptors of each ring, a power of two.
    pub queue_size: u16,
    /// Requests in flight on each queue at most.
    pub depth: usize,
    /// Bytes of the longest request body.
    pub request_max: usize,
    /// Bytes of the longest reply body.
    pub reply_max: usize,
    /// Bytes of memory on top of what queues and slots take.
    pub spare: u64,
    /// Where memory is.
    pub regions: Regions,
    /// Offer indirect tables, which a Linux guest uses whenever it may.
    pub indirect: bool,
    /// Offer EVENT_IDX.
    pub event_index: bool,
    /// How reply buffers are cut.
    pub cut: Cut,
    /// How to wait for the device.
    pub wait: Wait,
    /// How long any one answer may take.
    pub timeout: Duration,
    /// For the session above: see `Session::believe_headers`.
    pub believe_headers: bool,
    /// Which messages start the device, in which order.
    pub style: Style,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queues: 1,
            queue_size: 1024,
            depth: 4,
            request_max: 64 << 10,
            reply_max: 1 << 20,
            spare: 4 << 20,
            regions: Regions::One,
            indirect: true,
            event_index: true,
            cut: Cut::Pages,
            wait: Wait::Event,
            timeout: Duration::from_secs(10),
            believe_headers: false,
            style: Style::Short,
        }
    }
}

impl Config {
    /// Memory that all queues need, with room for alignment.
    fn memory(&self) -> u64 {
        let slot = self.request_max + self.reply_max + (64 << 10);
        let rings = 64 * usize::from(self.queue_size);
        let bytes = (self.queues + 1) * (self.depth * slot + rings);
        let halves = if self.regions == Regions::One { 1 } else { 2 };
        (u64::try_from(bytes).unwrap_or(u64::MAX / 4) * halves + self.spare)
            .next_multiple_of(2 << 20)
    }
}

/// One connection to a daemon, with its guest.
pub struct Frontend {
    messages: Messages,
    socket: PathBuf,
    style: Style,
    protocol: VhostUserProtocolFeatures,
    /// The region of requests in flight, which outlives connections.
    pub inflight: Option<(VhostUserInflight, File)>,
    timeout: Duration,
    /// The guest's memory.
    pub ram: GuestRam,
    /// Queue 0 is the high-priority queue, requests start at 1.
    pub queues: Vec<Queue>,
    /// Virtio features both sides hold.
    pub features: u64,
    /// Queues that the device says it has, if it can say.
    pub queues_offered: Option<u64>,
}

impl Frontend {
    /// Connects (again and again until the socket listens or the timeout is
    /// up) and starts all queues.
    ///
    /// # Errors
    /// `TimedOut` when nothing listens; whatever the handshake fails with.
    pub fn connect(socket: &Path, config: &Config) -> io::Result<Self> {
        let stream = connect_patiently(socket, config.timeout)?;
        let count = u64::try_from(config.queues + 1).map_err(io::Error::other)?;
        let mut messages = Messages::from_stream(stream, count);
        messages.set_owner().map_err(io::Error::other)?;
        let (features, protocol) = negotiate(&mut messages, config)?;
        let queues_offered = protocol
            .contains(VhostUserProtocolFeatures::MQ)
            .then(|| messages.get_queue_num().map_err(io::Error::other))
            .transpose()?;
        let mut ram = GuestRam::new(config.memory(), config.regions)?;
        let mut queues = Vec::new();
        for _ in 0..=config.queues {
            let mut queue = Queue::new(&mut ram, config, features & INDIRECT != 0)?;
            queue.ring.set_event_index(features & EVENT_INDEX != 0);
            queues.push(queue);
        }
        let mut frontend = Self {
            messages,
            socket: socket.to_owned(),
            style: config.style,
            protocol,
            inflight: None,
            timeout: config.timeout,
            ram,
            queues,
            features,
            queues_offered,
        };
        frontend.start_all()?;
        // Messages without acknowledgement are still on their way, and a queue
        // that is kicked before it is enabled forgets the kick. This one has a
        // reply.
        frontend.messages.get_features().map_err(io::Error::other)?;
        Ok(frontend)
    }

    /// How long any one answer may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Starts queue `index`; the device reads from available index `base` on.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub fn start(&mut self, index: usize, base: u16) -> io::Result<()> {
        let size = self.queues[index].ring.size();
        self.messages
            .set_vring_num(index, size)
            .map_err(io::Error::other)?;
        self.place(index, base)?;
        self.messages
            .set_vring_enable(index, true)
            .map_err(io::Error::other)
    }

    /// Tells the device where the rings of queue `index` are, where to go on in
    /// them, and its events.
    fn place(&mut self, index: usize, base: u16) -> io::Result<()> {
        let addresses = self.addresses(index)?;
        let (messages, ring) = (&mut self.messages, &self.queues[index].ring);
        messages
            .set_vring_addr(index, &addresses)
            .map_err(io::Error::other)?;
        messages
            .set_vring_base(index, base)
            .map_err(io::Error::other)?;
        messages
            .set_vring_call(index, &ring.call)
            .map_err(io::Error::other)?;
        messages
            .set_vring_kick(index, &ring.kick)
            .map_err(io::Error::other)
    }

    /// Where the rings of queue `index` are, as SET_VRING_ADDR wants it.
    ///
    /// # Errors
    /// When they are outside memory (never).
    pub fn addresses(&self, index: usize) -> io::Result<VringConfigData> {
        let ring = &self.queues[index].ring;
        Ok(VringConfigData {
            queue_max_size: ring.size(),
            queue_size: ring.size(),
            flags: 0,
            desc_table_addr: self.ram.host_address(ring.table)?,
            used_ring_addr: self.ram.host_address(ring.used)?,
            avail_ring_addr: self.ram.host_address(ring.avail)?,
            log_addr: None,
        })
    }

    /// Stops queue `index` and returns the available index where the device
    /// would go on. The device has drained the queue when this returns.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub fn stop(&mut self, index: usize) -> io::Result<u16> {
        let base = self
            .messages
            .get_vring_base(index)
            .map_err(io::Error::other)?;
        u16::try_from(base).map_err(io::Error::other)
    }

    /// The raw vhost-user messages, for tests that send their own.
    pub fn messages(&mut self) -> &mut Messages {
        &mut self.messages
    }
}

fn negotiate(
    messages: &mut Messages,
    config: &Config,
) -> io::Result<(u64, VhostUserProtocolFeatures)> {
    let offered = messages.get_features().map_err(io::Error::other)?;
    let mut wanted = VERSION_1 | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
    if config.event_index {
        wanted |= EVENT_INDEX;
    }
    if config.indirect {
        wanted |= INDIRECT;
    }
    let features = offered & wanted;
    if config.style == Style::Short {
        messages.set_features(features).map_err(io::Error::other)?;
    }
    let offered = messages.get_protocol_features().map_err(io::Error::other)?;
    let protocol = offered & config.style.protocol();
    messages
        .set_protocol_features(protocol)
        .map_err(io::Error::other)?;
    if protocol.contains(VhostUserProtocolFeatures::REPLY_ACK) {
        messages.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    }
    Ok((features, protocol))
}

/// Connects as soon as somebody listens at `socket`.
///
/// # Errors
/// `TimedOut`, with the last refusal in its text.
pub fn connect_patiently(socket: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let start = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) if start.elapsed() > timeout => {
                let text = format!("nothing listens at {}: {error}", socket.display());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            // Between bind and listen there is nothing to wait on.
            Err(_) => std::thread::sleep(Duration::from_micros(100)),
        }
    }
}
