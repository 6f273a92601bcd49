//! A miss blocks only its reader (promise 4): a source that takes 300 ms for
//! each answer, or gives none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod guest;
mod host;
mod rig;
mod source;
#[path = "../support/mod.rs"]
mod support;
