//! A directory of the host, passed through: what virtiofsd is for.
//!
//! `host` and `random` look at it through the host's own kernel, which asks as a
//! guest's does; `guest` asks by itself, and also what no kernel would ask.
//! `burst` measures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure ends the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod burst;
mod guest;
mod host;
mod random;
mod rig;
