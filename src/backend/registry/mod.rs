//! Blobs of a repository of an OCI registry.
//!
//! May use: `http`, the words of `backend`. Used by: `cli`, `config`.

pub mod credentials;
mod options;

pub use options::{Options, Scheme, UnknownScheme};
