//! Handing the device's state to a VMM that moves or saves its guest
//! (vhost-user specification, "Migrating back-end state"): the VMM gives a pipe, which
//! a thread writes or reads, and asks afterwards how it went.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

use vhost::vhost_user::message::VhostTransferStateDirection as Direction;

/// Longest state that is read, in bytes.
const MAX: u64 = 1 << 30;

/// What has a state that goes with a guest.
pub trait DeviceState: Send + Sync + 'static {
    /// Writes the state.
    ///
    /// # Errors
    /// When it cannot be written, or what is there cannot go with a guest.
    fn save(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Reads a state in place of the one that is there.
    ///
    /// # Errors
    /// When it is none, or what it names is not there.
    fn load(&self, from: &mut dyn Read) -> io::Result<()>;
}

/// A transfer that is under way or done.
#[derive(Default)]
pub(super) struct Transfer(Option<JoinHandle<io::Result<()>>>);

impl Transfer {
    /// Begins to write or read the state.
    ///
    /// # Errors
    /// When one is under way, or there are no more threads.
    pub(super) fn begin(
        &mut self,
        state: &Arc<dyn DeviceState>,
        direction: Direction,
        mut file: File,
    ) -> io::Result<()> {
        if self.0.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let state = Arc::clone(state);
        let work = move || match direction {
            Direction::SAVE => {
                let mut out = io::BufWriter::new(file);
                state.save(&mut out)?;
                out.flush()
            }
            Direction::LOAD => state.load(&mut Read::by_ref(&mut file).take(MAX)),
        };
        let thread = std::thread::Builder::new().name("device-state".to_owned());
        self.0 = Some(thread.spawn(work)?);
        Ok(())
    }

    /// Waits for the end of the transfer.
    ///
    /// # Errors
    /// What it failed with, or that there was none.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let thread = self.0.take();
        let thread = thread.ok_or_else(|| io::Error::other("no state was transferred"))?;
        let result = thread.join();
        result
            .unwrap_or_else(|_| Err(io::Error::other("the transfer panicked")))
            .inspect_err(|error| log::error!("The device's state was not transferred: {error}"))
    }
}
