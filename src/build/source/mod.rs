//! Where images are made from: a directory ([`directory`]) or a tar archive
//! ([`tar`]), each read into a [`Tree`].

use std::io;
use std::path::{Path, PathBuf};

use super::tree::Tree;

pub mod directory;
pub mod tar;
pub(super) mod xattr;

pub use tar::EntryProblem;
pub use xattr::XattrProblem;

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system refused.
    #[error("Cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An extended attribute that an image cannot hold.
    #[error("Extended attribute {name} of {path} cannot be stored; remove it from the source")]
    Xattr {
        /// The file.
        path: String,
        /// The attribute.
        name: String,
        /// What is wrong with it.
        source: XattrProblem,
    },
    /// A device whose number does not fit the kernel's 32 bits.
    #[error("Device {path} has number {major}:{minor}, which does not fit 32 bits")]
    DeviceNumber {
        /// The device.
        path: String,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A file of a type that images have no word for.
    #[error("{path} is of an unknown type (mode {mode:o})")]
    UnknownType {
        /// The file.
        path: String,
        /// Its mode with the type bits.
        mode: u16,
    },
    /// The archive as a whole.
    #[error("Archive {} is damaged or no tar archive: {what} at byte {offset}", archive.display())]
    Archive {
        /// The archive.
        archive: PathBuf,
        /// What is wrong.
        what: &'static str,
        /// Where, in the (decompressed) archive.
        offset: u64,
    },
    /// One entry of an archive.
    #[error("Entry {entry} of {} cannot be used", archive.display())]
    Entry {
        /// The archive.
        archive: PathBuf,
        /// The entry's name; unprintable bytes are escaped.
        entry: String,
        /// What is wrong with it.
        source: EntryProblem,
    },
}

/// Reads a source: a directory as it is, anything else as a tar archive.
/// Compressed archives are unpacked to an unnamed file in `spool_dir`.
///
/// # Errors
/// Those of [`directory::scan`] and [`tar::scan`].
pub fn scan(path: &Path, spool_dir: &Path) -> Result<Tree, SourceError> {
    let meta = std::fs::metadata(path).map_err(|source| SourceError::Io {
        action: "look at source",
        path: path.to_owned(),
        source,
    })?;
    if meta.is_dir() {
        directory::scan(path)
    } else {
        tar::scan(path, spool_dir)
    }
}

/// A byte name for messages: as it is when it is printable text, else escaped.
pub(super) fn shown(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("\"{}\"", name.escape_ascii()),
    }
}
