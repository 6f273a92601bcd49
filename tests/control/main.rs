//! The API of a running daemon, its configuration and its secrets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod pins;
mod rig;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
