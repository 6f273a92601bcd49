//! Images are converted to image layouts and a real registry, and back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod layouts;
mod registries;
mod rig;
#[path = "../support/mod.rs"]
mod support;
