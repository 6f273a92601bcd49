//! Images in the format RAFS v6 in all its forms, made by others: served as the
//! tree that they were made of, whatever is done to cache and blob.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../images/mod.rs"]
mod images;
#[path = "../nydus/mod.rs"]
mod nydus;
#[path = "../support/mod.rs"]
mod support;

mod altered;
mod forged;
mod larger;
mod rig;
mod served;
mod tables;
