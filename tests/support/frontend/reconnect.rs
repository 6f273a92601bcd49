//! A VMM that goes on with a daemon that was started again: memory, rings and what
//! is in flight are those of before.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::Ordering;

use vhost::vhost_user::message::VhostUserInflight;
use vhost::vhost_user::{Frontend as Messages, VhostUserFrontend};

use super::{Config, Frontend, connect_patiently, negotiate};
use vhost::VhostBackend as _;

/// The daemon's record of requests in flight, which the VMM keeps.
pub struct Inflight {
    region: VhostUserInflight,
    file: std::fs::File,
}

impl Frontend {
    /// Asks the daemon for its record of requests in flight, before the rings start.
    ///
    /// # Errors
    /// When the daemon has none.
    pub fn inflight(messages: &mut Messages, config: &Config) -> io::Result<Inflight> {
        let queues = u16::try_from(config.queues + 1).map_err(io::Error::other)?;
        let wanted = VhostUserInflight::new(0, 0, queues, config.queue_size);
        let answer = messages.get_inflight_fd(&wanted);
        let (region, file) = answer.map_err(io::Error::other)?;
        let inflight = Inflight { region, file };
        inflight.tell(messages)?;
        Ok(inflight)
    }

    /// Goes on with a daemon that was started again, which listens at `socket` or
    /// will: as QEMU and Cloud Hypervisor do, from where the used rings are.
    ///
    /// # Errors
    /// When nothing listens in time, or the handshake fails.
    pub fn reconnect(&mut self, socket: &Path, config: &Config) -> io::Result<()> {
        self.stream = connect_patiently(socket, config.timeout)?;
        let count = u64::try_from(config.queues + 1).map_err(io::Error::other)?;
        self.messages = Messages::from_stream(self.stream.try_clone()?, count);
        self.messages.set_owner().map_err(io::Error::other)?;
        let (features, _) = negotiate(&mut self.messages, config)?;
        if features != self.features {
            return Err(io::Error::other("the daemon offers other features"));
        }
        self.messages
            .set_mem_table(&self.ram.table()?)
            .map_err(io::Error::other)?;
        if let Some(inflight) = &self.inflight {
            inflight.tell(&mut self.messages)?;
        }
        for index in 0..=config.queues {
            let used = self.queues[index].ring.used + 2;
            let base = self.ram.load::<u16>(used, Ordering::Acquire)?;
            self.start(index, base)?;
        }
        self.messages.get_features().map_err(io::Error::other)?;
        for queue in &self.queues {
            queue.ring.kick.write(1)?;
        }
        Ok(())
    }
}

impl Inflight {
    fn tell(&self, messages: &mut Messages) -> io::Result<()> {
        let told = messages.set_inflight_fd(&self.region, self.file.as_raw_fd());
        told.map_err(io::Error::other)
    }
}
