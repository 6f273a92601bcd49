//! What an image is: parsing of bootstraps and the proof of what they say.
//!
//! * [`model`]: types, attributes, references: the words.
//! * [`rafs`]: RAFS v6 on disk, parsers and encoders over bytes; [`rafs5`]: the
//!   parsers of RAFS v5. No I/O.
//! * [`section`]: the integrity section on disk. No I/O.
//! * [`proof`]: every hash that the root digest is made of. No I/O.
//! * [`field`]: what is said of fields that do not fit.
//! * [`bootstrap`]: reads ranges of a bootstrap file into private memory.
//! * [`list`], [`layout`], [`blob_table`], [`chunk_table`]: lists and tables.
//! * [`metadata`] is what [`mod@file`], [`directory`] (over [`group`]) and
//!   [`mod@node`] load and prove from; `v5` is all of that for RAFS v5, and `tree`
//!   the door to both, with [`content`] as what comes out.
//! * `tables` reads what a blob's own tables say of its chunks.
//! * [`hints`]: what may be worth fetching first. Not proved.
//! * [`witness`] proves single files to those who have no image.
//! * [`open`] makes an [`Image`] if [`pin`] agrees; [`lookup`] is how it is
//!   asked.
//!
//! May use: `chunk`, `extent`, `records`, `cipher`, `path_text`. Used by: `fs`, `build`, `unpack`, `cli`.

pub mod blob_table;
pub mod bootstrap;
pub mod chunk_table;
pub mod content;
pub mod directory;
pub mod error;
pub mod field;
pub mod file;
pub mod group;
pub mod hints;
pub mod layout;
pub mod list;
pub mod lookup;
pub mod metadata;
pub mod model;
pub mod node;
pub mod open;
pub mod pin;
pub mod proof;
pub mod rafs;
pub mod rafs5;
pub mod section;
pub(crate) mod tables;
mod tree;
mod v5;
pub mod witness;

pub use content::{ChunkGroup, Content, Directory, File};
pub use error::ImageError;
pub use group::{Entry, Group};
pub use model::{FileType, NodeRef};
pub use node::Node;
pub use open::Image;
pub use pin::{Allowed, Pin};
pub use tree::{Format, Summary};
