//! What can be wrong with a configuration.

use std::io;
use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// What is wrong is in this file.
    #[error("Cannot use configuration {}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<Self>,
    },
    /// The file does not open or does not read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// More than a configuration may have.
    #[error("it has more than 1 MiB")]
    TooLarge,
    /// No text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// The text breaks the rules of JSON or TOML.
    #[error("it is not valid {language} at line {line}, column {column}: {reason}")]
    Syntax {
        /// JSON or TOML.
        language: &'static str,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// None of the forms that are known.
    #[error("its form is not known: {0}")]
    UnknownForm(String),
    /// A key has a value that it must not have, or none.
    #[error("key {key}: {reason} (read as {form})")]
    Key {
        /// The key with its path.
        key: String,
        /// What is wrong.
        reason: String,
        /// The form that the text has.
        form: String,
    },
}
