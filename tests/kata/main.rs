//! What Kata's runtimes and nydus-snapshotter do to a daemon. Numbers in the
//! comments of tests are those of the contract's list of checks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod beside_nydusd;
mod clients;
mod command_line;
mod damaged;
mod directories;
mod host;
mod leftovers;
mod lifecycle;
mod many;
mod mounts;
mod outage;
mod output;
mod ready;
mod remount;
mod rig;
#[path = "../support/mod.rs"]
mod support;
mod unproved;
mod virtiofsd;
