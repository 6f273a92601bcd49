//! Images in the format RAFS v5, made by `nydus-image`: served as the tree that
//! they were made of, whatever is done to cache and blob.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../images/mod.rs"]
mod images;
#[path = "../nydus/mod.rs"]
mod nydus;
#[path = "../support/mod.rs"]
mod support;

mod altered;
mod flipped;
mod forged;
mod pinned;
mod rig;
mod served;
