//! The cache that the daemons of a host share: its limit, who fetches what, what
//! is not fetched twice, and what is left of it after kills and power cuts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admin;
mod chaos;
mod dedup;
mod full;
mod limit;
mod power_cut;
mod rig;
#[path = "../support/mod.rs"]
mod support;
mod together;
