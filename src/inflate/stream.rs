//! A zlib stream: the unsafe part of everything that decompresses here.

#![allow(
    unsafe_code,
    reason = "zlib's interface for entering a stream and stopping at its blocks is a C one"
)]

use std::ffi::c_int;

use libz_rs_sys as zlib;

use super::InflateError;

/// What stands around the DEFLATE blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Nothing.
    Raw,
    /// The header and the trailer of a gzip member, which are checked.
    Gzip,
}

/// Where decompression stops before input or output ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pause {
    /// Nowhere.
    Never,
    /// Behind the header and at the end of each block.
    AtBlocks,
}

/// How far a call came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// zlib's return code.
    pub(super) code: i32,
    /// Bytes of input that are done with.
    pub(super) consumed: usize,
    /// Bytes that came out.
    pub(super) produced: usize,
    /// If a block may begin here: how many bits of the last byte of input are
    /// not yet used.
    pub(super) block: Option<u8>,
}

/// A zlib stream that is ended when it is dropped.
pub(super) struct Stream(zlib::z_stream);

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised by `inflateInit2_` and is ended
        // once.
        unsafe { zlib::inflateEnd(&raw mut self.0) };
    }
}

impl Stream {
    /// A stream at its start, with the largest window.
    pub(super) fn new(form: Form) -> Result<Self, InflateError> {
        // Zlib takes the form from sign and size of the number of window bits.
        let window: c_int = match form {
            Form::Raw => -15,
            Form::Gzip => 16 + 15,
        };
        let mut stream = zlib::z_stream::default();
        let size = c_int::try_from(size_of::<zlib::z_stream>()).unwrap_or(0);
        let version = zlib::zlibVersion();
        // SAFETY: the stream has no state yet; version and size are the library's own.
        let code = unsafe { zlib::inflateInit2_(&raw mut stream, window, version, size) };
        done(code)?;
        Ok(Self(stream))
    }

    /// Goes back to the start, for the next gzip member.
    pub(super) fn reset(&mut self) -> Result<(), InflateError> {
        // SAFETY: the stream is initialised.
        done(unsafe { zlib::inflateReset(&raw mut self.0) })
    }

    /// Puts the top `bits` (1 to 7) bits of `previous` before the input.
    pub(super) fn prime(&mut self, bits: u8, previous: u8) -> Result<(), InflateError> {
        let value = c_int::from(previous >> (8 - bits));
        // SAFETY: the stream is initialised.
        done(unsafe { zlib::inflatePrime(&raw mut self.0, bits.into(), value) })
    }

    /// Says what came out before.
    pub(super) fn set_dictionary(&mut self, dictionary: &[u8]) -> Result<(), InflateError> {
        let len = u32::try_from(dictionary.len())
            .map_err(|_| InflateError::Dictionary(dictionary.len()))?;
        let stream = &raw mut self.0;
        // SAFETY: the stream is initialised; `len` is the dictionary's length,
        // and zlib copies it.
        done(unsafe { zlib::inflateSetDictionary(stream, dictionary.as_ptr(), len) })
    }

    /// Decompresses until `out` is full, or no further.
    pub(super) fn inflate(&mut self, stored: &[u8], out: &mut [u8], pause: Pause) -> Step {
        let len = |len| u32::try_from(len).unwrap_or(u32::MAX);
        let (given, room) = (len(stored.len()), len(out.len()));
        self.0.next_in = stored.as_ptr();
        self.0.avail_in = given;
        self.0.next_out = out.as_mut_ptr();
        self.0.avail_out = room;
        let flush = match pause {
            Pause::Never => zlib::Z_SYNC_FLUSH,
            Pause::AtBlocks => zlib::Z_BLOCK,
        };
        // SAFETY: input and output are as long as is said and outlive the call.
        let code = unsafe { zlib::inflate(&raw mut self.0, flush) };
        let size = |len: u32| usize::try_from(len).unwrap_or(usize::MAX);
        let step = Step {
            code,
            consumed: size(given.saturating_sub(self.0.avail_in)),
            produced: size(room.saturating_sub(self.0.avail_out)),
            // 128: at the end of a block or header; 64: the last block was
            // begun; below: unused bits.
            block: (self.0.data_type & 0xc0 == 128)
                .then(|| u8::try_from(self.0.data_type & 7).unwrap_or(0)),
        };
        self.0.next_in = std::ptr::null();
        self.0.next_out = std::ptr::null_mut();
        (self.0.avail_in, self.0.avail_out) = (0, 0);
        step
    }
}

fn done(code: c_int) -> Result<(), InflateError> {
    match code {
        zlib::Z_OK => Ok(()),
        code => Err(InflateError::Refused { done: 0, code }),
    }
}
