//! How daemons begin and end, and what outlives a connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod begin;
mod end;
mod reconnect;
#[path = "../support/mod.rs"]
mod support;
