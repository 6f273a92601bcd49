//! Layered images: each layer is converted on its own, and the layers are
//! merged from what is known about them.
//!
//! ```text
//! layer (tar, tar.gz, tar.zst) ─► convert ─► blob + record     one per layer
//! records, lowest first        ─► merge ───► tree + chunk list ─► bootstrap
//! ```
//!
//! * `changes`: what a layer does to the tree below it.
//! * [`mod@convert`] reads a layer once, as a stream, and writes the chunks of
//!   its files to a blob and its changes to a [`record`]. Both depend on the
//!   layer and the options only, not on the layers below: a layer that was
//!   converted before, for whatever image, is not read again.
//! * `overlay` lays changes over a tree; [`mod@merge`] does it for all layers
//!   and finds out which chunks the tree still uses: of chunks that several
//!   layers have the lowest layer's, and of blobs only those with a used chunk.
//! * [`cache`] keeps blobs and records of layers in a directory;
//!   [`image`] does all of it for a list of layers.
//!
//! May use: the rest of `build`. Used by: `cli`.

pub mod cache;
mod changes;
pub mod convert;
pub mod error;
pub mod image;
mod key;
pub mod merge;
mod overlay;
pub mod record;

pub use convert::{LayerPlaces, convert};
pub use error::LayerError;
pub use key::{DictId, layer_key};
pub use merge::{Merged, merge};
pub use record::LayerImage;

#[cfg(test)]
mod tests;
