//! Reads the bytes of a chunk from where the source has them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, OFlags, SeekFrom};
use rustix::io::Errno;

use super::PackError;
use super::plan::{From, Piece, PlannedFile};
use crate::build::open::open;
use crate::build::source::shown;
use crate::build::tree::{Data, NodeIndex};

/// What a piece of a file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Bytes, now in the buffer.
    Data,
    /// A hole: zeros that nobody has to read. The buffer is untouched.
    Hole,
}

/// A thread's reader: keeps the last file open, since a file's chunks come
/// one after the other.
#[derive(Default)]
pub(super) struct Reader {
    open: Option<(NodeIndex, File)>,
    /// The node whose holes were looked at last, and where its next data
    /// begin as seen from there.
    hole: Option<(NodeIndex, u64, u64)>,
}

impl Reader {
    /// Reads the piece into `buffer`, which has its length; `taken` came with
    /// the batch.
    pub(super) fn read(
        &mut self,
        piece: &Piece<'_>,
        taken: &[u8],
        buffer: &mut [u8],
    ) -> Result<Found, PackError> {
        match piece.from {
            From::File(file, offset) => self.read_file(&file, offset, buffer),
            From::Batch(at) => {
                let bytes = taken.get(at..).and_then(|it| it.get(..buffer.len()));
                buffer.copy_from_slice(bytes.ok_or(PackError::WorkerDied)?);
                Ok(Found::Data)
            }
            From::Hole => Ok(Found::Hole),
        }
    }

    /// Reads `buffer` at `position` of a file.
    fn read_file(
        &mut self,
        file: &PlannedFile<'_>,
        position: u64,
        buffer: &mut [u8],
    ) -> Result<Found, PackError> {
        let len = buffer.len() as u64;
        match &file.content.data {
            Data::Range {
                file: archive,
                offset,
                ..
            } => {
                let end = offset.checked_add(file.content.size);
                let end = end.ok_or_else(|| changed(file))?;
                let at = offset + position;
                // A file of one chunk is seldom worth the question.
                let sparse = file.content.size > len;
                if sparse && self.is_hole(archive, file.node, at..at + len, end) {
                    return Ok(Found::Hole);
                }
                read_exact(archive, file, buffer, at)
            }
            Data::Path { path, sparse } => {
                let open_file = match self.open.take() {
                    Some((node, open)) if node == file.node => open,
                    _ => open_file(path, file)?,
                };
                let range = position..position + len;
                let hole = *sparse && self.is_hole(&open_file, file.node, range, file.content.size);
                let found = if hole {
                    Found::Hole
                } else {
                    read_exact(&open_file, file, buffer, position)?
                };
                if position + len < file.content.size {
                    self.open = Some((file.node, open_file));
                } else {
                    check_size(&open_file, file)?;
                }
                Ok(found)
            }
            Data::Blobs => Err(changed(file)),
        }
    }

    /// Whether `file` has no data in `range`; the node's data end at `end`.
    fn is_hole(&mut self, file: &File, node: NodeIndex, range: Range<u64>, end: u64) -> bool {
        let Range {
            start: at,
            end: stop,
        } = range;
        if let Some((last, from, next)) = self.hole
            && last == node
            && from <= at
            && at < next
        {
            return stop <= next;
        }
        let next = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(next) => next.min(end),
            // No more data behind this place.
            Err(Errno::NXIO) => end,
            Err(_) => return false,
        };
        self.hole = Some((node, at, next));
        stop <= next
    }
}

fn open_file(path: &std::path::Path, file: &PlannedFile<'_>) -> Result<File, PackError> {
    // Not blocking, for what was a file may by now be a pipe.
    let opened = open(path, OFlags::NOFOLLOW | OFlags::NONBLOCK);
    let opened = opened.map_err(|error| failed(file, error.into()))?;
    let stat = rustix::fs::fstat(&opened).map_err(|error| failed(file, error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(changed(file));
    }
    Ok(File::from(opened))
}

/// Refuses a file that is not as long as it was when it was listed.
fn check_size(open: &File, file: &PlannedFile<'_>) -> Result<(), PackError> {
    let meta = open.metadata().map_err(|error| failed(file, error))?;
    if meta.len() == file.content.size {
        Ok(())
    } else {
        Err(changed(file))
    }
}

fn read_exact(
    open: &File,
    file: &PlannedFile<'_>,
    buffer: &mut [u8],
    at: u64,
) -> Result<Found, PackError> {
    match open.read_exact_at(buffer, at) {
        Ok(()) => Ok(Found::Data),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(changed(file)),
        Err(error) => Err(failed(file, error)),
    }
}

fn changed(file: &PlannedFile<'_>) -> PackError {
    PackError::Changed {
        file: name(file),
        size: file.content.size,
    }
}

fn failed(file: &PlannedFile<'_>, source: io::Error) -> PackError {
    PackError::Read {
        file: name(file),
        source,
    }
}

fn name(file: &PlannedFile<'_>) -> String {
    match &file.content.data {
        Data::Path { path, .. } => shown(path.as_os_str().as_bytes()),
        Data::Range { name, .. } => shown(name),
        Data::Blobs => String::new(),
    }
}
