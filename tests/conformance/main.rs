//! One suite for every backend, against real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod directory;
mod servers;
mod suite;
#[path = "../support/mod.rs"]
mod support;
