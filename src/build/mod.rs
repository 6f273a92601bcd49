//! Makes images: source → tree → chunks → blobs → bootstrap.
//!
//! May use: `chunk`, `image`. Used by: `cli`.

pub mod tree;
