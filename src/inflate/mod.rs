//! Raw DEFLATE streams that are entered in the middle.
//!
//! * [`resume`] decompresses from a place that a context of an index names.
//!
//! May use: nothing. Used by: `store`. Holds unsafe code: zlib's functions that
//! set bits and dictionary exist as C functions only.

pub mod resume;

pub use resume::{InflateError, resume};
