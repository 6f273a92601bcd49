//! Frames in a zstd stream that is a part of a file.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Longest frame, in bytes: attributes and names of one entry, or a piece of a
/// table. An extension header of a layer has at most 16 MiB.
const FRAME_MAX: usize = 48 << 20;

/// A part of a file.
pub(super) struct Section {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Section {
    pub(super) fn new(file: &Arc<File>, at: u64, left: u64) -> Self {
        Self {
            file: Arc::clone(file),
            at,
            left,
        }
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let part = buffer.get_mut(..most).unwrap_or_default();
        let got = self.file.read_at(part, self.at)?;
        self.at += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

/// Writes a frame.
pub(super) fn write(out: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    if frame.len() > FRAME_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let len = u32::try_from(frame.len()).map_err(io::Error::other)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(frame)
}

/// Reads frames.
pub(super) struct FrameReader<R: Read> {
    inner: BufReader<zstd::Decoder<'static, BufReader<R>>>,
    frame: Vec<u8>,
}

impl<R: Read> FrameReader<R> {
    pub(super) fn new(inner: R) -> Result<Self, String> {
        let decoder = zstd::Decoder::new(inner).map_err(|error| error.to_string())?;
        Ok(Self {
            inner: BufReader::with_capacity(256 << 10, decoder),
            frame: Vec::new(),
        })
    }

    /// The next frame; None at the end.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, String> {
        let failed = |error: io::Error| error.to_string();
        let mut len = [0; 4];
        let first = self.inner.by_ref().take(1);
        let mut head = Vec::new();
        if { first }.read_to_end(&mut head).map_err(failed)? == 0 {
            return Ok(None);
        }
        let (start, rest) = len.split_at_mut(1);
        start.copy_from_slice(&head);
        self.inner.read_exact(rest).map_err(failed)?;
        let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
        if len > FRAME_MAX {
            return Err("a frame is too long".into());
        }
        self.frame.clear();
        let most = u64::try_from(len).unwrap_or(u64::MAX);
        let got = self.inner.by_ref().take(most).read_to_end(&mut self.frame);
        if got.map_err(failed)? < len {
            return Err("a frame is cut off".into());
        }
        Ok(Some(&self.frame))
    }
}
