//! An archive that is read by position.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::super::SourceError;
use super::input::{Input, Label};
use super::spool;

/// An open archive, decompressed.
pub(super) struct Archive {
    label: Label,
    /// Its bytes.
    pub(super) file: Arc<File>,
    /// How many.
    pub(super) len: u64,
    offset: u64,
}

impl Archive {
    pub(super) fn open(path: &Path, spool_dir: &Path) -> Result<Self, SourceError> {
        let (file, len) = spool::open(path, spool_dir)?;
        Ok(Self {
            label: Label::new(path),
            file: Arc::new(file),
            len,
            offset: 0,
        })
    }
}

impl Input for Archive {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, self.offset) {
                Ok(0) => break,
                Ok(got) => {
                    done += got;
                    self.offset += got as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.label.failed("read archive", error)),
            }
        }
        Ok(done)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        // The system's offsets are signed.
        self.offset = self
            .offset
            .saturating_add(len)
            .min(i64::MAX.cast_unsigned());
        Ok(())
    }

    fn label(&self) -> &Label {
        &self.label
    }
}
