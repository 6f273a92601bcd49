//! Tidegate's own form: what it adds to the others, and two directories.

use std::path::PathBuf;

use serde::Deserialize;

use super::document::{Form, Tree};
use super::error::ConfigError;
use super::extra;
use super::model::{BackendConfig, Config, LocalConfig, SourceConfig};
use super::reader::Reader;

/// Reads a document without any key of nydusd's.
pub(super) fn parse(
    mut document: Tree,
    form: Form,
    reader: &mut Reader,
) -> Result<Config, ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        blobs: Option<PathBuf>,
        cache: Option<PathBuf>,
    }
    let mut config = Config::empty(form);
    extra::parse(&mut document, reader, &mut config)?;
    let keys: Keys = reader.read(&document, "")?;
    config.cache.dir = keys.cache;
    if let Some(dir) = keys.blobs {
        config.sources.push(SourceConfig {
            key: "blobs".to_owned(),
            kind: "localfs",
            shown: serde_json::json!({ "dir": dir.to_string_lossy() }),
            backend: BackendConfig::Local(LocalConfig {
                blob_file: None,
                dirs: vec![dir],
            }),
        });
    }
    config.unknown = reader.take_unknown();
    Ok(config)
}
