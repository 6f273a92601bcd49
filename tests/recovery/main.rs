//! What a guest finds when its daemon was killed and started again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod again;
mod carry;
mod cost;
mod directory;
mod full;
mod guest;
mod kata;
mod load;
mod mounted;
mod mounts;
mod personalities;
mod rig;
mod rounds;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod transfer;
