//! What tests of images that `nydus-image` made have in common, whatever the format.
//!
//! * `served`: what hosts, guests and our own tools see of one.
//! * `archives`: larger images, which lie beside the repository and not in it.
//! * `altered`: single bytes that are others, and forgeries that keep a CRC.
//!
//! The including test has `support` beside it.

// Each test uses its part.
#![allow(dead_code)]

pub(crate) mod altered;
pub(crate) mod archives;
pub(crate) mod served;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tidegate::fs::walk;
use tidegate::image::Image;
use tidegate::store::Store;

/// The lines of a manifest, all fields.
pub(crate) fn manifest(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A file's bytes, or that they cannot be had.
pub(crate) fn read(image: &Image, store: &Arc<Store>, path: &[u8]) -> Result<Vec<u8>, String> {
    let node = walk::find(image, path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    walk::read_file(image, store, &node, &mut |part| {
        bytes.extend_from_slice(part);
        Ok(())
    })
    .map_err(|error| error.to_string())?;
    Ok(bytes)
}
