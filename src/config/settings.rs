//! What nydusd's two forms have in common, under other names.

use std::path::PathBuf;

use serde::Deserialize;

use super::document::Tree;
use super::error::ConfigError;
use super::model::{Config, PrefetchConfig};
use super::reader::{Reader, join};

/// Most bytes of a batch, as in nydusd.
const BATCH_MAX: u64 = 256 << 20;

/// Most prefetch threads, as in nydusd.
const THREADS_MAX: usize = 1024;

/// nydusd's prefetch threads.
pub(super) fn default_threads() -> usize {
    8
}

/// nydusd's batch sizes, in bytes.
pub(super) fn default_batch_size() -> u64 {
    1 << 20
}

/// The cache directory of a cache of type `kind`, whose keys are in `table` at
/// the path `at`; none for no cache.
pub(super) fn cache_dir(
    kind: &str,
    kind_at: &str,
    table: Option<Tree>,
    at: &str,
    reader: &mut Reader,
) -> Result<Option<PathBuf>, ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(default = "here")]
        work_dir: PathBuf,
        #[serde(default)]
        enable_encryption: bool,
        #[serde(default)]
        enable_convergent_encryption: bool,
    }
    match kind {
        "" | "dummy" | "dummycache" => return Ok(None),
        "blobcache" | "filecache" => {}
        "fscache" => {
            let reason = "fscache is not supported; use blobcache";
            return Err(reader.wrong(kind_at, reason));
        }
        other => {
            let reason = format!("{other:?} is none of blobcache, filecache, dummycache");
            return Err(reader.wrong(kind_at, reason));
        }
    }
    let mut table = table.ok_or_else(|| reader.wrong(at, "is missing"))?;
    // Settings of how nydusd keeps its files.
    drop(table.split(&["disable_indexed_map", "encryption_key"]));
    let keys: Keys = reader.read(&table, at)?;
    if keys.enable_encryption || keys.enable_convergent_encryption {
        let key = join(at, "enable_encryption");
        let reason = "the cache cannot be encrypted; put it on an encrypted file system";
        return Err(reader.wrong(&key, reason));
    }
    if keys.work_dir.as_os_str().is_empty() {
        return Err(reader.wrong(&join(at, "work_dir"), "is empty"));
    }
    Ok(Some(keys.work_dir))
}

fn here() -> PathBuf {
    PathBuf::from(".")
}

/// Notes what of the cache's keys does nothing here.
pub(super) fn note_cache(config: &mut Config, at: &str, compressed: bool, validate: Option<bool>) {
    if compressed {
        config.notes.push(format!(
            "Key {at}.compressed does nothing: chunks are kept uncompressed"
        ));
    }
    note_validate(config, &join(at, "validate"), validate);
}

fn note_validate(config: &mut Config, key: &str, validate: Option<bool>) {
    if validate == Some(false) {
        config.notes.push(format!(
            "Key {key} is false, and everything is proved all the same"
        ));
    }
}

/// Checks prefetch settings as nydusd does; `threads` and `batch_size` are the
/// paths of their keys.
pub(super) fn prefetch(
    prefetch: PrefetchConfig,
    reader: &Reader,
    threads: &str,
    batch_size: &str,
) -> Result<PrefetchConfig, ConfigError> {
    if prefetch.enable && !(1..=THREADS_MAX).contains(&prefetch.threads) {
        return Err(reader.wrong(threads, "is not 1 to 1024"));
    }
    if prefetch.enable && prefetch.batch_size > BATCH_MAX {
        return Err(reader.wrong(batch_size, "is more than 268435456 (256 MiB)"));
    }
    Ok(prefetch)
}

/// Settings of the file system: values with the paths of their keys.
pub(super) struct Rafs<'a> {
    pub(super) mode: (&'a str, String),
    pub(super) batch_size: (&'a str, u64),
    pub(super) validate: (&'a str, Option<bool>),
    pub(super) xattr: (&'a str, Option<bool>),
    /// Keys that do nothing here, and whether they are on.
    pub(super) ignored: &'a [(&'a str, bool)],
}

impl Rafs<'_> {
    /// Checks them and takes what means something here.
    pub(super) fn apply(self, reader: &Reader, config: &mut Config) -> Result<(), ConfigError> {
        let (key, mode) = self.mode;
        if mode != "direct" && mode != "cached" {
            return Err(reader.wrong(key, format!("{mode:?} is neither direct nor cached")));
        }
        let (key, batch_size) = self.batch_size;
        if batch_size > BATCH_MAX {
            return Err(reader.wrong(key, "is more than 268435456 (256 MiB)"));
        }
        config.batch_size = Some(batch_size);
        note_validate(config, self.validate.0, self.validate.1);
        if self.xattr.1 == Some(false) {
            config.notes.push(format!(
                "Key {} is false, and extended attributes are served all the same",
                self.xattr.0
            ));
        }
        for (key, _) in self.ignored.iter().filter(|(_, on)| *on) {
            config.notes.push(format!("Key {key} does nothing here"));
        }
        Ok(())
    }
}

/// Refuses blobs that nydusd would read from elsewhere: silently leaving them
/// out would end in errors when they are read.
pub(super) fn refuse_external(
    tree: &mut Tree,
    reader: &Reader,
    key: &str,
) -> Result<(), ConfigError> {
    match tree.take_list("external_backends") {
        Some(list) if !list.is_empty() => {
            Err(reader.wrong(key, "external backends are not supported"))
        }
        _ => Ok(()),
    }
}
