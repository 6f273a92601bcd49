//! What integration tests and benchmarks share: a guest without a VMM.
//!
//! * [`frontend`] speaks vhost-user to a daemon's socket and lays virtqueues
//!   by hand in memory of its own.
//! * [`session`] is a FUSE client on top of it.
//! * [`manifest`] writes down what a served tree looks like.
//! * [`daemon`] starts and measures the process under test; [`counters`] reads
//!   what it counts.
//! * [`mount`] is `tidegate mount` on a directory of its own.
//! * [`image`] and [`tree`] make something to serve; [`layout`] makes OCI
//!   images.
//! * [`registry`] serves blobs: slowly, paced, faulty, and counted.
//! * [`servers`] starts registries, object stores and web servers.
//! * [`target`] is an image with the daemon that serves it.
//!
//! A test says `mod support;` (or names this file with `#[path]`) and uses the
//! part that it needs.

// Each target uses its own part of this module, and nothing of it leaves the
// target.
#![allow(dead_code, unused_imports, unreachable_pub)]

pub mod counters;
pub mod daemon;
pub mod dice;
pub mod frontend;
pub mod image;
pub mod layout;
pub mod manifest;
pub mod mount;
pub mod registry;
pub mod servers;
pub mod session;
pub mod target;
pub mod tree;
