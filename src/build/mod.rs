//! Makes images: source → tree → chunks → blobs → bootstrap.
//!
//! * [`source`] turns a directory or a tar archive into a [`tree`].
//! * [`pack`] cuts the tree's files into chunks and writes the blobs.
//! * [`layers`] converts the layers of an image one by one and merges them.
//! * [`bootstrap`] lays out the metadata, proves it and writes it.
//! * [`mod@index`] makes images whose data stay in unchanged OCI layers.
//! * [`dict`] reads images whose chunks are used again; [`options`] says how.
//! * [`trace`] finds in the tree what a recorded trace names.
//! * `open` opens paths that are longer than the kernel takes at once.
//!
//! May use: `chunk`, `image`, `inflate`, `trace`. Used by: `cli`.

pub mod bootstrap;
pub mod dict;
pub mod index;
pub mod layers;
mod open;
pub mod options;
pub mod pack;
pub mod source;
pub mod trace;
pub mod tree;
