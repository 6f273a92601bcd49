//! What is written down, as one stream: a tar archive of the files that a daemon which
//! goes on needs (`daemon.json`, `session`, `mount-N.json`, `mount-N.*`), sealed. Names,
//! kinds and contents of its entries are checked all the same.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::path::Path;

use tar::{Archive, Builder, EntryType, Header};

use super::names::{Owner, owner, table};
use super::seal::StateKey;
use crate::state::{StateDir, StateError};

/// Why a state does not go from one daemon to another.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Nothing is written down, or there is no key.
    #[error("This daemon hands no state over; start it with --state and --state-key")]
    NotOffered,
    /// The pipe or the disk failed.
    #[error("The state cannot be passed on")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("This is not the state of a daemon")]
    Foreign,
    /// Another program made it.
    #[error(
        "The state has the form {0:?}, and this program reads 1; use the program that saved it"
    )]
    Version(String),
    /// A part is missing or another than it was, or the key is another.
    #[error("The state is cut short, was altered, or was saved with another --state-key")]
    Torn,
    /// No daemon writes such an entry.
    #[error("The state has an entry {0:?}, which no daemon writes")]
    Entry(String),
    /// It says nothing.
    #[error("The state has no table of mounts")]
    Empty,
    /// What is in it cannot be used, or the state directory.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A stream that is being made, in a file.
pub(super) struct Outgoing(Builder<io::BufWriter<File>>);

impl Outgoing {
    /// Begins it in an empty file.
    pub(super) fn new(file: File) -> Self {
        Self(Builder::new(io::BufWriter::new(file)))
    }

    /// Adds a file as it is now.
    pub(super) fn add(&mut self, name: &str, path: &Path) -> Result<(), TransferError> {
        let failed = |error: io::Error| StateError::failed(path, error);
        let mut file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let mut header = Header::new_ustar();
        header.set_path(name)?;
        header.set_size(len);
        header.set_mode(0o600);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        self.0.append(&header, Read::by_ref(&mut file).take(len))?;
        if file.stream_position().map_err(failed)? != len {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()).into());
        }
        Ok(())
    }

    /// Writes it out; how long it is.
    pub(super) fn send(self, key: &StateKey, out: &mut dyn Write) -> Result<u64, TransferError> {
        let file = self.0.into_inner()?;
        let mut file = file.into_inner().map_err(io::Error::from)?;
        file.rewind()?;
        key.seal(&mut file, out)
    }
}

/// A stream that is here as a whole.
pub(super) struct Incoming(File);

impl Incoming {
    /// Reads it up to its end into an empty file.
    ///
    /// # Errors
    /// When it is no state, or not a whole one.
    pub(super) fn receive(
        key: &StateKey,
        from: &mut dyn Read,
        mut file: File,
    ) -> Result<Self, TransferError> {
        key.open(from, &mut file)?;
        file.rewind()?;
        Ok(Self(file))
    }

    /// Writes its files into an empty directory.
    ///
    /// # Errors
    /// When one is there that no daemon writes, or the directory cannot be written.
    pub(super) fn unpack(self, dir: &StateDir) -> Result<(), TransferError> {
        let mut seen = HashSet::new();
        let mut archive = Archive::new(self.0);
        // Raw: what only changes the meaning of other entries is an entry like any.
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            let name = String::from_utf8_lossy(&entry.header().path_bytes()).into_owned();
            let is_file = entry.header().entry_type() == EntryType::Regular;
            if !is_file || owner(&name).is_none() || !seen.insert(name.clone()) {
                return Err(TransferError::Entry(name.chars().take(64).collect()));
            }
            let mut file = dir.create(&name)?;
            if io::copy(&mut entry, &mut file)? != entry.size() {
                return Err(TransferError::Torn);
            }
        }
        let orphan = seen.iter().find(|name| match owner(name) {
            Some(Owner::Mount(number)) => !seen.contains(&table(number)),
            Some(Owner::Daemon) | None => false,
        });
        match orphan {
            Some(name) => Err(TransferError::Entry(name.clone())),
            None => Ok(()),
        }
    }
}
