//! OCI images: what they are made of and where they are kept.
//!
//! * [`manifest`]: descriptors, indexes, manifests and media types.
//! * [`platform`]: which of several images is meant.
//! * [`blob`]: bytes that are checked against their digest as they are read.
//! * [`image`]: from a descriptor to one image: manifest, config and layers,
//!   over any [`BlobSource`].
//! * [`layout`]: image layout directories; [`archive`]: what `docker save`
//!   writes. Both are sources of blobs.
//! * [`media`]: media types and annotations of images that are converted.
//! * [`reference`](mod@reference): what a user calls an image.
//! * [`repository`]: a repository of a registry, read and written.
//!
//! The types are our own, not those of the crate oci-spec: what a site wrote
//! into an index or a manifest beyond the specification is kept when it is
//! written again, and that crate drops it.
//!
//! May use: `backend`, `chunk`, `runtime`. Used by: `convert`, `cli`.

pub mod archive;
pub mod blob;
pub mod error;
pub mod image;
pub mod layout;
pub mod manifest;
pub mod media;
pub mod platform;
pub mod reference;
pub mod repository;

pub use blob::{BlobSource, CheckedReader};
pub use error::OciError;
pub use image::{Layer, OciImage};
pub use manifest::{Descriptor, Index, Manifest};
pub use platform::Platform;
