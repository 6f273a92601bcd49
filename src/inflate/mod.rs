//! DEFLATE streams that are entered in the middle.
//!
//! * [`points`] decompresses a gzip file and notes where it can be entered.
//! * [`mod@resume`] decompresses from such a place.
//! * [`mod@references`] tells what of the output before a place is needed there.
//! * `stream` is zlib.
//!
//! May use: nothing. Used by: `store` and `build`. Holds unsafe code: zlib's
//! functions that stop at blocks and set bits and dictionary exist as C
//! functions only.

pub mod points;
pub mod references;
pub mod resume;
mod stream;

pub use resume::resume;

/// Why a stream could not be entered or decompressed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InflateError {
    /// More than seven bits of the byte before are said to belong to the stream.
    #[error("{0} bits of the byte before the stream, more than 7")]
    Bits(u8),
    /// A dictionary that is longer than what a stream can refer to.
    #[error("A dictionary of {0} bytes, more than 32768")]
    Dictionary(usize),
    /// Longer than zlib can be told.
    #[error("{0} bytes at once")]
    TooLong(usize),
    /// zlib says that the bytes are no DEFLATE stream, or has no memory.
    #[error("zlib refuses the stream after {done} bytes (code {code})")]
    Refused {
        /// Bytes that came out before.
        done: usize,
        /// zlib's return code.
        code: i32,
    },
}
