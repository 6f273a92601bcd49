//! A layer that is read once: its bytes as they are stored, its archive, and
//! where the one can be entered to get at the other.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::NamedTempFile;

use super::IndexError;
use super::contexts::Context;
use crate::chunk::Digest;
use crate::inflate::points::{Point, Points};
use crate::inflate::references::references;
use crate::inflate::resume::WINDOW;

/// Bytes that are copied at once.
const COPY: usize = 256 << 10;

/// A layer of an unchanged image, unpacked for looking at it.
pub struct Layer {
    /// SHA-256 of the stored bytes: its name in the registry.
    pub id: Digest,
    /// Its stored length.
    pub stored_len: u64,
    /// Where its gzip stream can be entered; None for a plain archive.
    pub points: Option<Vec<Point>>,
    stored: NamedTempFile,
    /// None: the stored bytes are the archive.
    archive: Option<NamedTempFile>,
}

impl Layer {
    /// Reads `input`, whose bytes have the SHA-256 `id`, to its end. Two copies
    /// are kept in `dir` as long as the value lives.
    ///
    /// # Errors
    /// When it cannot be read or written, is a broken gzip file, or is
    /// compressed in another way.
    pub fn read(id: Digest, input: Box<dyn Read + Send>, dir: &Path) -> Result<Self, IndexError> {
        let failed = |source| IndexError::Layer { id, source };
        let spool = || {
            let file = tempfile::Builder::new().prefix(".layer-").tempfile_in(dir);
            file.map_err(|source| IndexError::Spool {
                dir: dir.to_owned(),
                source,
            })
        };
        let mut stored = spool()?;
        let mut input = Tee {
            inner: input,
            copy: stored.as_file_mut(),
            len: 0,
        };
        let mut start = [0; 4];
        let got = read_some(&mut input, &mut start).map_err(failed)?;
        let start = start.get(..got).unwrap_or_default();
        let (mut points, mut archive) = (None, None);
        match start {
            [0x1f, 0x8b, ..] => {
                let mut file = spool()?;
                let whole = BufReader::with_capacity(COPY, start.chain(&mut input));
                let mut reader = Points::new(whole).map_err(|it| failed(io::Error::other(it)))?;
                io::copy(&mut reader, file.as_file_mut()).map_err(failed)?;
                points = Some(reader.into_points());
                archive = Some(file);
            }
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
                return Err(IndexError::Zstd { id });
            }
            _ => {}
        }
        // Only at its end is the digest known to be right.
        io::copy(&mut input, &mut io::sink()).map_err(failed)?;
        let stored_len = input.len;
        Ok(Self {
            id,
            stored_len,
            points,
            stored,
            archive,
        })
    }

    /// The archive, as long as the value lives.
    pub fn archive(&self) -> &Path {
        self.archive.as_ref().unwrap_or(&self.stored).path()
    }

    fn file(&self) -> &File {
        self.archive.as_ref().unwrap_or(&self.stored).as_file()
    }

    /// What must be known of the output before a context, in place of which
    /// there are zeros where it does not matter.
    pub(super) fn dictionary(&self, context: &Context) -> io::Result<Vec<u8>> {
        let point = &context.point;
        let len = usize::try_from(point.window).unwrap_or(WINDOW).min(WINDOW);
        let mut window = vec![0; len];
        self.file()
            .read_exact_at(&mut window, point.raw_offset - len as u64)?;
        // Twice what comes out is much for it to come from.
        let look = usize::try_from(context.len).unwrap_or(WINDOW);
        let mut stored = vec![0; look.min(2 * WINDOW)];
        self.stored
            .as_file()
            .read_exact_at(&mut stored, point.offset)?;
        let raw = usize::try_from(context.raw).unwrap_or(WINDOW);
        if let Some(used) = references(&stored, point.bits, point.previous, len, raw) {
            for (byte, used) in window.iter_mut().zip(&used) {
                *byte = if *used { *byte } else { 0 };
            }
            let unused = used.iter().take_while(|used| !**used).count();
            window.drain(..unused);
        }
        Ok(window)
    }
}

/// Reads until `buffer` is full or the end.
fn read_some(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Copies what is read.
struct Tee<'a> {
    inner: Box<dyn Read + Send>,
    copy: &'a mut File,
    len: u64,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.copy.write_all(buffer.get(..got).unwrap_or_default())?;
        self.len += got as u64;
        Ok(got)
    }
}
