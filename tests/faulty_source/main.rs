//! Right or error, on time, whatever a remote source does (promises 1, 4, 6):
//! real daemons over a registry that fails in every way that it knows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alone;
mod chaos;
mod lies;
mod readers;
mod rig;
#[path = "../support/mod.rs"]
mod support;
