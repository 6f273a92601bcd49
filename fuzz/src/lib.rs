//! What the fuzz targets share: images built once in the process, bootstraps
//! that can be damaged and mended thousands of times a second, and a reader of
//! fuzz input.
//!
//! Everything here panics freely: a panic is how a target reports a finding.

pub mod bench;
pub mod input;
pub mod look;
pub mod patch;
pub mod tar;

#[allow(missing_docs, clippy::type_complexity)]
#[path = "../../tests/images/mod.rs"]
pub mod images;
