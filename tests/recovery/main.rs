//! What a guest finds when its daemon was killed and started again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod again;
mod carry;
mod cost;
mod directory;
mod guest;
mod load;
mod mounts;
mod rig;
mod rounds;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod transfer;
