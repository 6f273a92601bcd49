//! How a VMM starts the device, and how it takes it up again when the daemon was
//! replaced by another.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vhost::VhostBackend;
use vhost::vhost_user::message::{
    VhostUserHeaderFlag, VhostUserInflight, VhostUserProtocolFeatures,
};
use vhost::vhost_user::{Frontend as Messages, VhostUserFrontend};

use super::Frontend;

/// How long Cloud Hypervisor waits for a daemon to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Which messages start the device, and where a queue goes on that was started
/// before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Each queue by itself, and no more than is needed. Such a device is not taken
    /// up again.
    Short,
    /// As Cloud Hypervisor does it, every message with an answer. The region of
    /// requests in flight is kept here; queues go on at their used index.
    Inflight,
    /// The same without a region: queues go on at their available index.
    Available,
    /// The same, but queues go on at their used index, as QEMU has it.
    Used,
}

impl Style {
    /// Protocol features that are taken if they are offered.
    pub(super) fn protocol(self) -> VhostUserProtocolFeatures {
        let all = VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK;
        let cloud_hypervisor = all
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::LOG_SHMFD
            | VhostUserProtocolFeatures::DEVICE_STATE;
        match self {
            Self::Short => all,
            Self::Inflight => cloud_hypervisor | VhostUserProtocolFeatures::INFLIGHT_SHMFD,
            Self::Available | Self::Used => cloud_hypervisor,
        }
    }
}

impl Frontend {
    /// Connects to the daemon that took the place of the one before, and starts the
    /// queues where that one left them. Requests in flight are still waited for.
    ///
    /// # Errors
    /// When no daemon listens within a minute, or this one refuses.
    pub fn reconnect(&mut self) -> io::Result<()> {
        self.connect_again()?;
        self.start_all()
    }

    /// Connects to a daemon at `socket` in the place of the one before, and starts no
    /// queue: [`Frontend::resume`] does.
    ///
    /// # Errors
    /// When no daemon listens within a minute, or this one refuses.
    pub fn move_to(&mut self, socket: &Path) -> io::Result<()> {
        socket.clone_into(&mut self.socket);
        self.connect_again()
    }

    /// Starts all queues where they were stopped.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub fn resume(&mut self) -> io::Result<()> {
        self.start_all()
    }

    fn connect_again(&mut self) -> io::Result<()> {
        self.disconnect()?;
        let stream = connect_again(&self.socket)?;
        let count = u64::try_from(self.queues.len()).map_err(io::Error::other)?;
        self.messages = Messages::from_stream(stream, count);
        let messages = &mut self.messages;
        messages.set_owner().map_err(io::Error::other)?;
        messages.get_features().map_err(io::Error::other)?;
        messages.get_protocol_features().map_err(io::Error::other)?;
        messages
            .set_protocol_features(self.protocol)
            .map_err(io::Error::other)?;
        messages.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        Ok(())
    }

    /// Ends the connection, if the daemon has not.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn disconnect(&mut self) -> io::Result<()> {
        let (nobody, _) = UnixStream::pair()?;
        let count = u64::try_from(self.queues.len()).map_err(io::Error::other)?;
        self.messages = Messages::from_stream(nobody, count);
        Ok(())
    }

    /// Hands over memory and starts all queues, in the order of the style.
    pub(super) fn start_all(&mut self) -> io::Result<()> {
        let style = self.style;
        if style != Style::Short {
            self.messages
                .set_features(self.features)
                .map_err(io::Error::other)?;
        }
        let table = self.ram.table()?;
        self.messages
            .set_mem_table(&table)
            .map_err(io::Error::other)?;
        if style == Style::Short {
            return (0..self.queues.len()).try_for_each(|index| self.start(index, 0));
        }
        for index in 0..self.queues.len() {
            let size = self.queues[index].ring.size();
            self.messages
                .set_vring_num(index, size)
                .map_err(io::Error::other)?;
        }
        if style == Style::Inflight {
            self.hand_over_inflight()?;
        }
        for index in 0..self.queues.len() {
            let base = self.base(index)?;
            self.place(index, base)?;
        }
        for index in 0..self.queues.len() {
            self.messages
                .set_vring_enable(index, true)
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Asks for the region at the first start, and hands it over.
    fn hand_over_inflight(&mut self) -> io::Result<()> {
        let queues = u16::try_from(self.queues.len()).map_err(io::Error::other)?;
        let wanted = VhostUserInflight::new(0, 0, queues, self.queues[0].ring.size());
        let (told, file) = match self.inflight.take() {
            Some(region) => region,
            None => self
                .messages
                .get_inflight_fd(&wanted)
                .map_err(io::Error::other)?,
        };
        self.messages
            .set_inflight_fd(&told, file.as_raw_fd())
            .map_err(io::Error::other)?;
        self.inflight = Some((told, file));
        Ok(())
    }

    /// Where queue `index` goes on.
    fn base(&self, index: usize) -> io::Result<u16> {
        let ring = &self.queues[index].ring;
        let at = match self.style {
            Style::Inflight | Style::Used => ring.used,
            Style::Available | Style::Short => ring.avail,
        };
        self.ram.load(at + 2, Ordering::Acquire)
    }
}

/// Connects as soon as somebody listens again.
fn connect_again(socket: &Path) -> io::Result<UnixStream> {
    let start = Instant::now();
    loop {
        let error = match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let passes = [
            io::ErrorKind::NotFound,
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::Interrupted,
        ];
        if !passes.contains(&error.kind()) || start.elapsed() > PATIENCE {
            return Err(error);
        }
        std::thread::sleep(PAUSE);
    }
}
