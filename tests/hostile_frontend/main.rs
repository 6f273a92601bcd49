//! A guest can write anything into its queues. Whatever it is, the daemon
//! lives, the next request is answered, and no other bytes than the right ones
//! come back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod chains;
mod indices;
mod legal;
mod messages;
mod siege;
mod storms;
mod tables;
