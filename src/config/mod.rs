//! Configuration files: nydusd's in all three forms and Tidegate's own, read
//! into one validated model.
//!
//! * `document` turns text into a tree of keys and tells the form; `reader`
//!   turns parts of the tree into types, with the path of what is wrong.
//! * `v1`, `v2` and `own` know the forms, `settings` what the first two
//!   share, `backends` the sources that they name, `extra` the keys that
//!   Tidegate adds to each of them.
//! * `model` is what comes out, `sources` makes backends of it. `policy`
//!   is the file of allowed digests.
//!
//! Nothing here keeps, prints or repeats a secret in an error. May use:
//! `backend` (for its secrets and options), `chunk`. Used by: `cli`.

mod backends;
mod document;
mod error;
mod extra;
mod model;
mod own;
mod policy;
mod reader;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

pub use self::document::Form;
pub use self::error::ConfigError;
pub use self::model::{
    BackendConfig, BucketConfig, CacheConfig, Config, HttpConfig, LocalConfig, MirrorConfig,
    NetworkConfig, PrefetchConfig, ProxyConfig, RegistryConfig, Scheme, SourceConfig,
};
pub use self::policy::Policy;
pub use self::sources::{Connected, SourcesError};

/// Longest configuration or policy file, in bytes.
pub const MAX_LEN: u64 = 1 << 20;

/// Reads and validates the configuration in the file at `path`.
///
/// # Errors
/// When the file cannot be read, has no form that is known, or a key has a
/// value that it must not have.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let in_file = |source| ConfigError::InFile {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let text = read(path).map_err(in_file)?;
    parse(&text).map_err(in_file)
}

/// Validates a configuration that is at hand as text.
///
/// # Errors
/// As [`load`], but for the file.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_LEN {
        return Err(ConfigError::TooLarge);
    }
    let (form, document) = document::parse(text)?;
    let mut reader = reader::Reader::new(form.to_string());
    match form {
        Form::V1 => v1::parse(document, &mut reader),
        Form::V2Json | Form::V2Toml => v2::parse(document, form, &mut reader),
        Form::OwnJson | Form::OwnToml => own::parse(document, form, &mut reader),
    }
}

/// The text of a small file, wiped from memory when it is dropped.
fn read(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let file = File::open(path).map_err(ConfigError::Read)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_LEN + 1)
        .read_to_end(&mut bytes)
        .map_err(ConfigError::Read)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_LEN {
        return Err(ConfigError::TooLarge);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| ConfigError::NotText)?;
    Ok(Zeroizing::new(text.to_owned()))
}
