//! Bootstraps made to hurt: each is refused with the field and its offset, and
//! served with errors at most, within bounded memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../images/mod.rs"]
mod images;

mod bombs;
mod siege;
mod v5;
mod v6;
