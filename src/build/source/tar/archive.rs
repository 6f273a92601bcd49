//! An archive that is read by position, and the words for its faults.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::{SourceError, shown};
use super::problem::EntryProblem;
use super::spool;

/// An open archive, decompressed.
pub(super) struct Archive {
    path: PathBuf,
    /// Its bytes.
    pub(super) file: Arc<File>,
    /// How many.
    pub(super) len: u64,
}

impl Archive {
    pub(super) fn open(path: &Path, spool_dir: &Path) -> Result<Self, SourceError> {
        let (file, len) = spool::open(path, spool_dir)?;
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(file),
            len,
        })
    }

    /// The block at `offset`, None at the end of the file.
    pub(super) fn block(&self, offset: u64) -> Result<Option<[u8; 512]>, SourceError> {
        if offset >= self.len {
            return Ok(None);
        }
        let mut block = [0; 512];
        self.read(&mut block, offset)?;
        Ok(Some(block))
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|source| match source.kind() {
                io::ErrorKind::UnexpectedEof => self.damaged("it is cut off", offset),
                _ => self.failed("read archive", source),
            })
    }

    pub(super) fn refuse(&self, name: &[u8], source: EntryProblem) -> SourceError {
        SourceError::Entry {
            archive: self.path.clone(),
            entry: shown(name),
            source,
        }
    }

    pub(super) fn damaged(&self, what: &'static str, offset: u64) -> SourceError {
        SourceError::Archive {
            archive: self.path.clone(),
            what,
            offset,
        }
    }

    pub(super) fn failed(&self, action: &'static str, source: io::Error) -> SourceError {
        SourceError::Io {
            action,
            path: self.path.clone(),
            source,
        }
    }
}
