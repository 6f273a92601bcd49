//! One suite for every backend, against real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod directory;
mod http;
mod oss;
mod registry;
mod s3;
mod servers;
mod suite;
#[path = "../support/mod.rs"]
mod support;
