//! What an image is: parsing of bootstraps and the proof of what they say.
//!
//! * [`model`]: nodes, attributes, references: the words.
//! * [`rafs`]: RAFS v6 on disk, parsers and encoders over bytes. No I/O.
//! * [`section`]: the integrity section on disk. No I/O.
//! * [`proof`]: every hash that the root digest is made of. No I/O.
//! * [`bootstrap`]: reads ranges of a bootstrap file into private memory.
//! * [`open`], [`mod@node`], [`directory`], [`mod@file`], [`layout`]: an [`Image`],
//!   which loads nodes, lists and chunk records and proves each.
//!
//! May use: `chunk`. Used by: `fs`, `build`, `unpack`, `cli`.

pub mod bootstrap;
pub mod chunk_table;
pub mod directory;
pub mod error;
pub mod file;
pub mod layout;
pub mod list;
pub mod model;
pub mod node;
pub mod open;
pub mod proof;
pub mod rafs;
pub mod section;

pub use error::ImageError;
pub use model::{Content, FileType, Node, NodeRef};
pub use open::{Image, Pin};
