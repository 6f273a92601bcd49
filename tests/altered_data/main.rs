//! Right or error (promises 1 and 2): whatever is done to the cache or to the
//! blobs of a running daemon, a guest reads the bytes that the image names, or
//! EIO.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cache;
mod rig;
mod shared;
mod source;
#[path = "../support/mod.rs"]
mod support;
