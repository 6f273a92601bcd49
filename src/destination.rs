//! Where a read puts its bytes: a list of memory segments, which are pages of
//! a guest or a private buffer.
//!
//! A leaf: the only place where file data meets raw guest memory. Segments
//! are written by `preadv`, by copies, and read back once for checking; the
//! owner of guest memory may change it at any time, so what is read back is
//! good for comparing and for nothing else.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

use smallvec::SmallVec;

/// Most segments that one `preadv` takes (Linux `IOV_MAX`).
const IOV_MAX: usize = 1024;

/// One piece of memory.
#[derive(Clone, Copy)]
struct Segment {
    base: *mut u8,
    len: usize,
}

/// An ordered list of writable memory segments, addressed as one range of
/// bytes `0..len()`.
pub struct Destination<'a> {
    segments: SmallVec<[Segment; 4]>,
    len: usize,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> Destination<'a> {
    /// A destination over one private buffer.
    pub fn from_slice(buffer: &'a mut [u8]) -> Self {
        let mut it = Self::empty();
        let (base, len) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: the buffer is borrowed mutably for 'a.
        unsafe { it.push_raw(base, len) };
        it
    }

    /// A destination over several private buffers, one behind the other.
    pub fn from_slices(buffers: impl IntoIterator<Item = &'a mut [u8]>) -> Self {
        let mut it = Self::empty();
        for buffer in buffers {
            // SAFETY: the buffer is borrowed mutably for 'a.
            unsafe { it.push_raw(buffer.as_mut_ptr(), buffer.len()) };
        }
        it
    }

    /// A destination without segments; see [`Destination::push_raw`].
    pub fn empty() -> Self {
        Self {
            segments: SmallVec::new(),
            len: 0,
            memory: PhantomData,
        }
    }

    /// Appends `len` bytes at `base`.
    ///
    /// # Safety
    /// `base..base + len` must stay mapped and writable for `'a`, and must not
    /// be memory that Rust code holds references to (guest memory, or a buffer
    /// that is borrowed for `'a`).
    pub unsafe fn push_raw(&mut self, base: *mut u8, len: usize) {
        if len == 0 {
            return;
        }
        self.len += len;
        if let Some(last) = self.segments.last_mut()
            && last.base.wrapping_add(last.len) == base
        {
            last.len += len;
            return;
        }
        self.segments.push(Segment { base, len });
    }

    /// Bytes that fit.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing fits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Cuts the destination to its first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        let mut left = len;
        self.segments.retain(|segment| {
            segment.len = segment.len.min(left);
            left -= segment.len;
            segment.len > 0
        });
        self.len = self.len.min(len);
    }

    /// Splits off and returns the first `at` bytes (or all there are); `self`
    /// keeps the rest.
    pub fn split_front(&mut self, at: usize) -> Destination<'a> {
        let mut front = Destination::empty();
        let mut rest = Destination::empty();
        let mut left = at;
        for segment in &self.segments {
            let take = segment.len.min(left);
            left -= take;
            // SAFETY: a part of a segment of `self`, which the caller of
            // `push_raw` vouched for; the two parts do not overlap.
            unsafe { front.push_raw(segment.base, take) };
            // SAFETY: as above.
            unsafe { rest.push_raw(segment.base.wrapping_add(take), segment.len - take) };
        }
        *self = rest;
        front
    }

    /// Copies `data` to the bytes from `at` on; what does not fit is left out.
    /// Returns the number of bytes copied.
    pub fn copy_in(&mut self, at: usize, data: &[u8]) -> usize {
        let mut done = 0;
        self.for_each_part(at, data.len(), |base, len| {
            let from = &data[done..done + len];
            // SAFETY: `for_each_part` yields parts of the segments, which are
            // writable for 'a; `data` is private memory, so they are apart.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), base, len) };
            done += len;
            true
        });
        done
    }

    /// Overwrites `len` bytes from `at` on with zeros.
    pub fn scrub(&mut self, at: usize, len: usize) {
        self.for_each_part(at, len, |base, len| {
            // SAFETY: as in `copy_in`.
            unsafe { std::ptr::write_bytes(base, 0, len) };
            true
        });
    }

    /// Shows the bytes `at..at + len`, piece by piece, to `visit`, which stops
    /// the walk by returning false.
    ///
    /// In guest memory the bytes may change while `visit` looks at them: use
    /// them to compute something to compare, never as a length, an index or a
    /// pointer.
    pub fn visit(&self, at: usize, len: usize, mut visit: impl FnMut(&[u8]) -> bool) {
        self.for_each_part(at, len, |base, len| {
            // SAFETY: mapped for 'a, as the caller of `push_raw` vouched. A
            // guest that writes here at the same time changes what `visit`
            // computes; the bytes are plain data for which any value is valid,
            // and `visit` hands them to tag functions only.
            let part = unsafe { std::slice::from_raw_parts(base, len) };
            visit(part)
        });
    }

    /// Reads from `file` at `offset` into the bytes `at..at + len` with one
    /// `preadv2`. Returns the bytes read, which may be fewer than asked for.
    ///
    /// With `nowait`, data that is not in the page cache gives
    /// [`io::ErrorKind::WouldBlock`] (or a short count) in place of waiting for
    /// the disk.
    pub fn read_from(
        &mut self,
        at: usize,
        len: usize,
        file: BorrowedFd<'_>,
        offset: u64,
        nowait: bool,
    ) -> io::Result<usize> {
        let mut iov: SmallVec<[libc::iovec; 8]> = SmallVec::new();
        self.for_each_part(at, len, |base, len| {
            iov.push(libc::iovec {
                iov_base: base.cast(),
                iov_len: len,
            });
            iov.len() < IOV_MAX
        });
        let count = libc::c_int::try_from(iov.len()).unwrap_or(libc::c_int::MAX);
        let offset = libc::off_t::try_from(offset)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let flags = if nowait { libc::RWF_NOWAIT } else { 0 };
        loop {
            // SAFETY: each iovec is a part of a segment, which is writable for
            // 'a; `count` is the number of them.
            let got =
                unsafe { libc::preadv2(file.as_raw_fd(), iov.as_ptr(), count, offset, flags) };
            if let Ok(got) = usize::try_from(got) {
                return Ok(got);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Calls `part` with base and length of each contiguous piece of the bytes
    /// `at..at + len`, in order, until it returns false.
    fn for_each_part(&self, at: usize, len: usize, mut part: impl FnMut(*mut u8, usize) -> bool) {
        let (mut skip, mut left) = (at, len);
        for segment in &self.segments {
            if left == 0 {
                return;
            }
            if skip >= segment.len {
                skip -= segment.len;
                continue;
            }
            let take = (segment.len - skip).min(left);
            if !part(segment.base.wrapping_add(skip), take) {
                return;
            }
            skip = 0;
            left -= take;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces<'a>(parts: &'a mut [Vec<u8>]) -> Destination<'a> {
        let mut it = Destination::empty();
        for part in parts {
            // SAFETY: the vectors are borrowed mutably for 'a.
            unsafe { it.push_raw(part.as_mut_ptr(), part.len()) };
        }
        it
    }

    #[test]
    fn copies_across_segments() {
        let mut parts = vec![vec![0; 3], vec![0; 4], vec![0; 2]];
        let mut it = pieces(&mut parts);
        assert_eq!(it.len(), 9);
        assert_eq!(it.copy_in(2, b"abcdef"), 6);
        assert_eq!(it.copy_in(8, b"xyz"), 1);
        it.scrub(3, 1);
        assert_eq!(parts.concat(), b"\0\0a\0cdefx");
    }

    #[test]
    fn splits_and_truncates_inside_a_segment() {
        let mut parts = vec![vec![0; 3], vec![0; 4]];
        let mut rest = pieces(&mut parts);
        let mut front = rest.split_front(5);
        assert_eq!((front.len(), rest.len()), (5, 2));
        front.copy_in(0, b"12345");
        rest.truncate(1);
        assert_eq!(rest.copy_in(0, b"67"), 1);
        assert_eq!(parts.concat(), b"123456\0");
    }

    #[test]
    fn visits_what_was_written() {
        let mut parts = vec![vec![0; 3], vec![0; 4]];
        let mut it = pieces(&mut parts);
        it.copy_in(0, b"abcdefg");
        let mut seen = Vec::new();
        it.visit(1, 4, |part| {
            seen.extend_from_slice(part);
            true
        });
        assert_eq!(seen, b"bcde");
    }
}
