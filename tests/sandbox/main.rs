//! What the daemon forbids itself: that nobody gets out, and that everything goes
//! on working inside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod escape;
mod levels;
mod mounts;
mod ports;
mod privileges;
mod registry;
#[path = "../support/mod.rs"]
mod support;
mod threads;
