//! What is fetched ahead, by real daemons with a directory as source.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod background;
mod baked;
mod paced;
mod recorded;
mod rig;
#[path = "../support/mod.rs"]
mod support;
