//! What a guest writes: a list of memory segments, which are pages of the guest
//! or a private buffer.
//!
//! A leaf, the counterpart of [`destination`](crate::destination): the bytes go
//! to a file without a copy. Whoever owns guest memory may change it at any time,
//! so nothing here looks at the bytes.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

use smallvec::SmallVec;

/// Most segments that one `pwritev` takes (Linux `IOV_MAX`).
const IOV_MAX: usize = 1024;

#[derive(Clone, Copy)]
struct Segment {
    base: *const u8,
    len: usize,
}

/// An ordered list of readable memory segments, addressed as one range of bytes
/// `0..len()`.
#[derive(Default)]
pub struct Payload<'a> {
    segments: SmallVec<[Segment; 4]>,
    len: usize,
    memory: PhantomData<&'a [u8]>,
}

impl<'a> Payload<'a> {
    /// A payload in one private buffer.
    pub fn from_slice(buffer: &'a [u8]) -> Self {
        let mut it = Self::default();
        // SAFETY: the buffer is borrowed for 'a.
        unsafe { it.push_raw(buffer.as_ptr(), buffer.len()) };
        it
    }

    /// Appends `len` bytes at `base`.
    ///
    /// # Safety
    /// `base..base + len` must stay mapped and readable for `'a`.
    pub unsafe fn push_raw(&mut self, base: *const u8, len: usize) {
        if len > 0 {
            self.len += len;
            self.segments.push(Segment { base, len });
        }
    }

    /// The bytes of `front`, then these.
    pub fn behind(self, front: &'a [u8]) -> Self {
        let mut it = Self::from_slice(front);
        it.len += self.len;
        it.segments.extend(self.segments);
        it
    }

    /// Bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A private copy of the bytes from `at` on.
    pub fn copy_from(&self, at: usize) -> Vec<u8> {
        let mut copy = vec![0u8; self.len.saturating_sub(at)];
        let mut done = 0;
        self.for_each_part(at, |base, len| {
            let to = &mut copy[done..done + len];
            // SAFETY: the part is mapped for 'a, and `copy` is private memory.
            // Bytes that a guest changes meanwhile arrive in either state.
            unsafe { std::ptr::copy_nonoverlapping(base, to.as_mut_ptr(), len) };
            done += len;
            true
        });
        copy
    }

    /// Writes the bytes from `at` on to `file` at `offset` with one `pwritev2`.
    /// Returns the bytes written, which may be fewer than there are.
    ///
    /// With `nowait`, what cannot be done at once gives
    /// [`io::ErrorKind::WouldBlock`] (or a short count).
    pub fn write_to(
        &self,
        at: usize,
        file: BorrowedFd<'_>,
        offset: u64,
        nowait: bool,
    ) -> io::Result<usize> {
        let mut iov: SmallVec<[libc::iovec; 8]> = SmallVec::new();
        self.for_each_part(at, |base, len| {
            iov.push(libc::iovec {
                iov_base: base.cast_mut().cast(),
                iov_len: len,
            });
            iov.len() < IOV_MAX
        });
        let count = libc::c_int::try_from(iov.len()).unwrap_or(libc::c_int::MAX);
        let offset =
            libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
        let flags = if nowait { libc::RWF_NOWAIT } else { 0 };
        loop {
            // SAFETY: each iovec is a part of a segment, which is readable for
            // 'a; `count` is the number of them.
            let put =
                unsafe { libc::pwritev2(file.as_raw_fd(), iov.as_ptr(), count, offset, flags) };
            if let Ok(put) = usize::try_from(put) {
                return Ok(put);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Calls `part` with base and length of each segment from byte `at` on until
    /// it returns false.
    fn for_each_part(&self, at: usize, mut part: impl FnMut(*const u8, usize) -> bool) {
        let mut skip = at;
        for segment in &self.segments {
            if skip >= segment.len {
                skip -= segment.len;
                continue;
            }
            if !part(segment.base.wrapping_add(skip), segment.len - skip) {
                return;
            }
            skip = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn writes_from_the_middle_of_segments() {
        let payload = Payload::from_slice(b"cdef").behind(b"ab");
        assert_eq!(payload.len(), 6);
        assert_eq!(payload.copy_from(1), b"bcdef");
        assert_eq!(payload.copy_from(9), b"");
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(payload.write_to(3, file.as_fd(), 2, false).unwrap(), 3);
        let mut all = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"\0\0def");
        let far = payload.write_to(0, file.as_fd(), u64::MAX, false);
        assert_eq!(far.unwrap_err().raw_os_error(), Some(libc::EFBIG));
    }

    #[test]
    fn more_segments_than_one_call_takes_are_written_in_turns() {
        let bytes: Vec<u8> = (0u8..251).cycle().take(3000).collect();
        let mut payload = Payload::default();
        for byte in &bytes {
            // SAFETY: borrowed from `bytes`, which outlives the payload.
            unsafe { payload.push_raw(byte, 1) };
        }
        let file = tempfile::tempfile().unwrap();
        assert_eq!(
            payload.write_to(0, file.as_fd(), 0, false).unwrap(),
            IOV_MAX
        );
        assert_eq!(payload.copy_from(0), bytes);
    }
}
