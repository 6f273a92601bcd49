//! What is written down, as one stream: a tar archive.
//!
//! ```text
//! tidegate-state   the version of this form
//! daemon.json, session, mount-N.json, mount-N.*    as in the state directory
//! sha256           digest of all bytes before this entry
//! ```
//!
//! First and last are compared with what they must be, byte by byte, so nothing can be
//! missing or altered by accident. Whoever alters it on purpose can write the digest
//! anew: names and contents are checked for themselves.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType, Header};

use super::keeper::{Owner, owner, table};
use crate::state::{StateDir, StateError};

/// Name and content of the first entry.
const FIRST: &str = "tidegate-state";
const VERSION: &[u8] = b"1\n";

/// The name of the last one.
const LAST: &str = "sha256";

/// Bytes of a header, and what contents are filled up to.
const BLOCK: usize = 512;

/// Bytes of an entry whose content is short.
const SHORT: usize = 2 * BLOCK;

/// Bytes of the last entry and the end of the archive.
const TAIL: usize = SHORT + 2 * BLOCK;

/// Why a state does not go from one daemon to another.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Nothing is written down.
    #[error("This daemon keeps no state; start it with --state")]
    NotKept,
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
    /// A part is missing or another than it was.
    #[error("The state is cut short or was altered; save it again")]
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
pub(super) struct Outgoing(io::BufWriter<Hashed>);

/// A file, and the digest of what was written to it.
struct Hashed {
    file: File,
    digest: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Outgoing {
    /// Begins it in an empty file.
    pub(super) fn new(file: File) -> Result<Self, TransferError> {
        let digest = Sha256::new();
        let mut out = io::BufWriter::new(Hashed { file, digest });
        out.write_all(&first())?;
        Ok(Self(out))
    }

    /// Adds a file as it is now.
    pub(super) fn add(&mut self, name: &str, path: &Path) -> Result<(), TransferError> {
        let failed = |error: io::Error| StateError::failed(path, error);
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        self.0.write_all(header(name, len)?.as_bytes())?;
        if io::copy(&mut file.take(len), &mut self.0)? != len {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()).into());
        }
        let filled = len.next_multiple_of(BLOCK as u64) - len;
        io::copy(&mut io::repeat(0).take(filled), &mut self.0)?;
        Ok(())
    }

    /// Writes it out; how long it is.
    pub(super) fn send(self, out: &mut dyn Write) -> Result<u64, TransferError> {
        let Hashed { mut file, digest } = self.0.into_inner().map_err(io::Error::from)?;
        file.write_all(&last(digest.finalize().into()))?;
        file.rewind()?;
        let len = io::copy(&mut file, out)?;
        out.flush()?;
        Ok(len)
    }
}

/// A stream that is here as a whole.
pub(super) struct Incoming {
    file: File,
    /// Bytes between the first and the last entry.
    body: u64,
}

impl Incoming {
    /// Reads it up to its end into an empty file.
    ///
    /// # Errors
    /// When it is no state, or not a whole one.
    pub(super) fn receive(from: &mut dyn Read, mut file: File) -> Result<Self, TransferError> {
        let len = io::copy(from, &mut file)?;
        file.rewind()?;
        let mut head = [0; SHORT];
        file.read_exact(&mut head)
            .map_err(|_| TransferError::Foreign)?;
        if head[..] != first()[..] {
            return Err(foreign(&head));
        }
        let body = len.checked_sub((SHORT + TAIL) as u64);
        let body = body.ok_or(TransferError::Torn)?;
        let mut digest = Sha256::new();
        digest.update(head);
        io::copy(&mut Read::by_ref(&mut file).take(body), &mut digest)?;
        let mut tail = [0; TAIL];
        file.read_exact(&mut tail)?;
        if tail[..] != last(digest.finalize().into())[..] {
            return Err(TransferError::Torn);
        }
        Ok(Self { file, body })
    }

    /// Writes its files into an empty directory.
    ///
    /// # Errors
    /// When one is there that no daemon writes, or the directory cannot be written.
    pub(super) fn unpack(mut self, dir: &StateDir) -> Result<(), TransferError> {
        self.file.seek(SeekFrom::Start(SHORT as u64))?;
        let mut seen = HashSet::new();
        let mut archive = Archive::new(self.file.take(self.body));
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            let name = String::from_utf8_lossy(&entry.header().path_bytes()).into_owned();
            let is_file = entry.header().entry_type() == EntryType::Regular;
            if !is_file || owner(&name).is_none() || !seen.insert(name.clone()) {
                return Err(TransferError::Entry(name.chars().take(64).collect()));
            }
            let mut file = dir.create(&name)?;
            let len = io::copy(&mut entry, &mut file)?;
            if len != entry.size() {
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

/// What something is that begins otherwise.
fn foreign(head: &[u8; SHORT]) -> TransferError {
    let (header, content) = head.split_at(BLOCK);
    let header = Header::from_byte_slice(header);
    if *header.path_bytes() != *FIRST.as_bytes() {
        return TransferError::Foreign;
    }
    let version = content.split(|&byte| byte == 0 || byte == b'\n').next();
    let version = String::from_utf8_lossy(version.unwrap_or_default());
    TransferError::Version(version.chars().take(16).collect())
}

fn first() -> [u8; SHORT] {
    short(FIRST, VERSION)
}

/// The last entry after bytes with this digest, and the end of the archive.
fn last(digest: [u8; 32]) -> [u8; TAIL] {
    let mut bytes = [0; TAIL];
    bytes[..SHORT].copy_from_slice(&short(LAST, hex::encode(digest).as_bytes()));
    bytes
}

/// An entry with at most [`BLOCK`] bytes.
fn short(name: &str, content: &[u8]) -> [u8; SHORT] {
    let mut bytes = [0; SHORT];
    // Names are short.
    if let Ok(header) = header(name, content.len() as u64) {
        bytes[..BLOCK].copy_from_slice(header.as_bytes());
    }
    bytes[BLOCK..][..content.len()].copy_from_slice(content);
    bytes
}

fn header(name: &str, len: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_size(len);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    Ok(header)
}
