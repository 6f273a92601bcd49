//! Why layers cannot be converted or merged.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::build::pack::PackError;
use crate::build::source::{EntryProblem, SourceError};

/// Why a layered image cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A layer cannot be opened.
    #[error("Cannot open layer {layer}")]
    Open {
        /// The layer.
        layer: String,
        /// What its source says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A layer cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A layer's data cannot be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
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
    /// The record of a layer.
    #[error("Layer record {} cannot be used: {reason}; remove it", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A change that the layers below do not allow.
    #[error("Entry {entry} of layer {layer} cannot be applied")]
    Change {
        /// The layer.
        layer: String,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        source: EntryProblem,
    },
    /// Layers that were converted differently.
    #[error("Layer {layer} was converted with {found}, the image has {wanted}; convert it again")]
    Differs {
        /// The layer.
        layer: String,
        /// What it was converted with.
        found: String,
        /// What it should have been converted with.
        wanted: String,
    },
}
