//! Makes images: source → tree → chunks → blobs → bootstrap.
//!
//! * [`options`] says how; [`tree`] is what is built.
//!
//! May use: `chunk`, `image`. Used by: `cli`.

pub mod options;
pub mod tree;
