//! What an archive is read from, from its first byte to its last, and the words
//! for its faults.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::super::{SourceError, shown};
use super::header::BLOCK;
use super::problem::EntryProblem;

/// Bytes that are passed over at once.
const SKIP: usize = 64 << 10;

/// The (decompressed) bytes of an archive, in their order.
pub(in crate::build) trait Input {
    /// Where the next byte is.
    fn offset(&self) -> u64;

    /// Reads the next bytes; fewer than `buffer.len()` only at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError>;

    /// Moves on. Past the end is no error yet.
    ///
    /// # Errors
    /// What the system says.
    fn skip(&mut self, len: u64) -> Result<(), SourceError>;

    /// The words for faults.
    fn label(&self) -> &Label;

    /// Fills `buffer`.
    ///
    /// # Errors
    /// When the archive ends before.
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), SourceError> {
        let at = self.offset();
        if self.read_some(buffer)? == buffer.len() {
            Ok(())
        } else {
            Err(self.label().damaged("it is cut off", at))
        }
    }

    /// The next block, None at the end.
    ///
    /// # Errors
    /// When the archive ends inside the block.
    fn block(&mut self) -> Result<Option<[u8; 512]>, SourceError> {
        let at = self.offset();
        let mut block = [0; 512];
        match self.read_some(&mut block)? {
            0 => Ok(None),
            len if len as u64 == BLOCK => Ok(Some(block)),
            _ => Err(self.label().damaged("it is cut off", at)),
        }
    }
}

/// What messages call an archive.
#[derive(Debug, Clone)]
pub(in crate::build) struct Label(PathBuf);

impl Label {
    pub(in crate::build) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(in crate::build) fn refuse(&self, name: &[u8], source: EntryProblem) -> SourceError {
        SourceError::Entry {
            archive: self.0.clone(),
            entry: shown(name),
            source,
        }
    }

    pub(super) fn damaged(&self, what: &'static str, offset: u64) -> SourceError {
        SourceError::Archive {
            archive: self.0.clone(),
            what,
            offset,
        }
    }

    pub(in crate::build) fn failed(&self, action: &'static str, source: io::Error) -> SourceError {
        SourceError::Io {
            action,
            path: self.0.clone(),
            source,
        }
    }
}

/// An archive that is read once, from anything.
pub(in crate::build) struct Stream<R> {
    inner: R,
    offset: u64,
    label: Label,
}

impl<R: Read> Stream<R> {
    /// The archive that `inner` unpacks to; messages call it `name`.
    pub(in crate::build) fn new(inner: R, name: &Path) -> Self {
        Self {
            inner,
            offset: 0,
            label: Label::new(name),
        }
    }

    /// Reads what is left, to whose end checks may be tied.
    ///
    /// # Errors
    /// What the system says, and those checks.
    pub(in crate::build) fn drain(&mut self) -> Result<(), SourceError> {
        self.skip(u64::MAX)
    }
}

impl<R: Read> Input for Stream<R> {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.inner.read(rest) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.label.failed("read", error)),
            }
        }
        self.offset = self.offset.saturating_add(done as u64);
        Ok(done)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        let mut buffer = [0; SKIP];
        let mut left = len;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(SKIP).min(SKIP);
            let got = self.read_some(buffer.get_mut(..step).unwrap_or_default())?;
            if got < step {
                break;
            }
            left -= got as u64;
        }
        Ok(())
    }

    fn label(&self) -> &Label {
        &self.label
    }
}
