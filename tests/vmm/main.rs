//! What a VMM may do to the device: start it in its own order, take it up again after
//! a crash, change its memory, follow what is written, and save its state.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod again;
mod hostile;
mod log;
mod memory;
#[path = "../memory_fs/mod.rs"]
mod memory_fs;
mod queues;
mod rig;
mod state;
#[path = "../support/mod.rs"]
mod support;

use tidegate::{destination, fs as fs_api};
