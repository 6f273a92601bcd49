//! What a guest finds when its daemon was killed and started again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod again;
mod directory;
mod guest;
mod mounts;
mod rig;
#[path = "../support/mod.rs"]
mod support;
