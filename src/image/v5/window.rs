//! Reads of records that mostly lie one behind the other.

use crate::image::bootstrap::Bootstrap;
use crate::image::error::ImageError;

/// Bytes read at once at first, and at most.
const FIRST: usize = 4096;
const MOST: usize = 1 << 20;

/// A part of a bootstrap in memory, which grows while reads go forwards.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    bootstrap: &'a Bootstrap,
    start: u64,
    bytes: Vec<u8>,
    step: usize,
}

impl<'a> Window<'a> {
    /// A window in which nothing is yet.
    pub(crate) fn new(bootstrap: &'a Bootstrap) -> Self {
        Self {
            bootstrap,
            start: 0,
            bytes: Vec::new(),
            step: FIRST,
        }
    }

    /// Up to `len` bytes at `offset`: fewer at the end of the bootstrap.
    ///
    /// # Errors
    /// When the bootstrap cannot be read.
    pub(crate) fn some(&mut self, offset: u64, len: usize) -> Result<&[u8], ImageError> {
        let inside = |window: &Self| {
            let from = usize::try_from(offset.checked_sub(window.start)?).ok()?;
            let end = from.checked_add(len)?;
            (end <= window.bytes.len()).then_some((from, end))
        };
        if let Some((from, end)) = inside(self) {
            return Ok(self.bytes.get(from..end).unwrap_or_default());
        }
        let end = self.start + self.bytes.len() as u64;
        let goes_on = offset >= self.start && offset <= end.saturating_add(self.step as u64);
        self.step = if goes_on {
            (self.step * 2).min(MOST)
        } else {
            FIRST
        };
        let left = self.bootstrap.len().saturating_sub(offset);
        let want = u64::try_from(self.step.max(len)).unwrap_or(left).min(left);
        self.bytes.resize(usize::try_from(want).unwrap_or(0), 0);
        let got = self.bootstrap.read_some(offset, &mut self.bytes)?;
        self.bytes.truncate(got);
        self.start = offset;
        Ok(self.bytes.get(..len.min(got)).unwrap_or_default())
    }

    /// `len` bytes at `offset`.
    ///
    /// # Errors
    /// When they are not all in the bootstrap, or cannot be read.
    pub(crate) fn exactly(&mut self, offset: u64, len: usize) -> Result<&[u8], ImageError> {
        let whole = self.bootstrap.len();
        if offset.checked_add(len as u64).is_none_or(|end| end > whole) {
            let what = format!("{len} bytes at offset {offset:#x} of a bootstrap of {whole}");
            return Err(self.bootstrap.damaged(what));
        }
        let bootstrap = self.bootstrap;
        let found = self.some(offset, len)?;
        if found.len() < len {
            return Err(bootstrap.damaged(format!("it became shorter than {offset:#x}")));
        }
        Ok(found)
    }
}
