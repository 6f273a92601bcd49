//! What is written down, handed over to a daemon that serves the same guest elsewhere or
//! later, and taken over from one.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Attacher;
use super::keeper::Keeper;
use super::named::What;
use super::names::SESSION;
use super::seal::StateKey;
use super::stream::{Incoming, Outgoing, TransferError};
use super::taken::Taken;
use crate::error_chain::chain;
use crate::fs::passthrough::PassthroughFs;
use crate::state::StateDir;

impl Attacher {
    /// Has the state handed over and taken from now on, sealed with `key`.
    pub fn carry(&self, key: StateKey) {
        // The first one counts.
        let _ = self.key.set(key);
    }

    /// Whether there is a state to be handed over.
    pub fn is_carried(&self) -> bool {
        self.carried().is_ok()
    }

    fn carried(&self) -> Result<(&Keeper, &StateKey), TransferError> {
        let carried = self.keeper.get().zip(self.key.get());
        let (keeper, key) = carried.ok_or(TransferError::NotOffered)?;
        Ok((keeper, key))
    }

    /// Writes the state of the guest to `out`. The guest must be stopped.
    ///
    /// # Errors
    /// When there is none to be handed over, or it cannot be read or passed on.
    pub fn save_state(&self, out: &mut dyn Write) -> Result<(), TransferError> {
        let (keeper, key) = self.carried()?;
        // Into a file first, since who reads the other end may take its time.
        let mut stream = Outgoing::new(keeper.dir().scratch()?);
        {
            let _table = self.table.lock();
            keeper.hand_over(|name, path| stream.add(name, path))?;
        }
        let len = stream.send(key, out)?;
        log::info!("Handed the state of the guest over: {len} bytes");
        Ok(())
    }

    /// Puts the state of a guest that [`Attacher::save_state`] wrote in the place of
    /// what is there, and goes on as a daemon does that is started after that one was
    /// killed. No guest may be served meanwhile. A process that is killed in between
    /// leaves one of the two behind, as a whole.
    ///
    /// # Errors
    /// When it is no such state or cannot be written down; all is as it was then.
    pub fn load_state(&self, from: &mut dyn Read) -> Result<(), TransferError> {
        let (keeper, key) = self.carried()?;
        let stream = Incoming::receive(key, from, keeper.dir().scratch()?)?;
        let _restoring = Restoring::begin(&self.restoring);
        let incoming = keeper.incoming()?;
        let taken_over = self.take_over(keeper, stream, incoming);
        if taken_over.is_err() {
            keeper.dir().discard_incoming();
        }
        taken_over
    }

    fn take_over(
        &self,
        keeper: &Keeper,
        stream: Incoming,
        dir: StateDir,
    ) -> Result<(), TransferError> {
        stream.unpack(&dir)?;
        let (incoming, found) = Keeper::new(dir)?;
        let mut taken = Taken::new(found.ok_or(TransferError::Empty)?);
        self.reopen_requested(&incoming, &mut taken);
        self.reopen_named(&incoming, &mut taken);
        let whole = incoming.whole();
        let session = incoming.dir().file(SESSION);
        let mut table = self.table.lock();
        let lost = self.settle(&mut table, taken, |back| {
            let adopt = || keeper.adopt(incoming);
            self.tree.exchange(&session, &whole.places, back, adopt)
        })?;
        // It is taken already, here and on disk, whatever else can be written.
        if let Err(error) = self.note_begun(keeper, whole.restored + 1, lost) {
            log::error!("{}", chain(&error));
        }
        Ok(())
    }

    /// Makes again what the command line mounted here and there.
    fn reopen_named(&self, keeper: &Keeper, taken: &mut Taken) {
        let named = self.table.lock().named.all();
        for (path, what) in named {
            let Some(entry) = taken.awaited_at(&path, matches!(what, What::Image(_))) else {
                continue;
            };
            let made = match what {
                What::Image(served) => Self::again(keeper, &entry, *served),
                What::Directory(source, options) => PassthroughFs::new(&source, options)
                    .map_err(Into::into)
                    .and_then(|fs| Self::directory(Some(keeper), entry.number, fs)),
            };
            taken.put(&entry, made);
        }
    }
}

/// Has the API refuse mounts until this is dropped.
struct Restoring<'a>(&'a AtomicBool);

impl<'a> Restoring<'a> {
    fn begin(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Release);
        Self(flag)
    }
}

impl Drop for Restoring<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
