//! nydusd's second form, as JSON or TOML: `version = 2`.

use serde::Deserialize;

use super::backends;
use super::document::{Form, Tree};
use super::error::ConfigError;
use super::extra;
use super::model::{Config, PrefetchConfig};
use super::reader::Reader;
use super::settings::{self, Rafs, default_batch_size, default_threads};

/// Reads a document of this form.
pub(super) fn parse(
    mut document: Tree,
    form: Form,
    reader: &mut Reader,
) -> Result<Config, ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        // Was looked at to tell the form.
        #[serde(rename = "version")]
        _version: u32,
        #[serde(default)]
        id: String,
    }
    let mut config = Config::empty(form);
    config.prefetch = Some(PrefetchConfig::default());
    extra::parse(&mut document, reader, &mut config)?;
    if let Some(backend) = document.take("backend") {
        let backend = backends::source(backend, reader, "backend")?;
        config.sources.push(backend);
    }
    settings::refuse_external(&mut document, reader, "external_backends")?;
    if document.take("overlay").is_some() {
        return Err(reader.wrong("overlay", "writable overlays are not supported"));
    }
    if let Some(cache) = document.take("cache") {
        self::cache(cache, reader, &mut config)?;
    }
    if let Some(rafs) = document.take("rafs") {
        self::rafs(&rafs, reader, &mut config)?;
    }
    let keys: Keys = reader.read(&document, "")?;
    config.id = keys.id;
    config.unknown = reader.take_unknown();
    Ok(config)
}

/// A table `prefetch`.
#[derive(Deserialize)]
struct Prefetch {
    enable: bool,
    #[serde(default = "default_threads")]
    threads: usize,
    #[serde(default = "default_batch_size")]
    batch_size: u64,
    #[serde(default)]
    bandwidth_limit: u32,
    #[serde(default)]
    prefetch_all: bool,
    #[serde(default)]
    stream_prefetch: bool,
}

impl Prefetch {
    fn check(&self, reader: &Reader, at: &str) -> Result<PrefetchConfig, ConfigError> {
        let prefetch = PrefetchConfig {
            enable: self.enable,
            all: self.prefetch_all,
            threads: self.threads,
            batch_size: self.batch_size,
            bandwidth: self.bandwidth_limit.into(),
        };
        let (threads, batch_size) = (format!("{at}.threads"), format!("{at}.batch_size"));
        settings::prefetch(prefetch, reader, &threads, &batch_size)
    }
}

fn cache(mut cache: Tree, reader: &mut Reader, config: &mut Config) -> Result<(), ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(default)]
        r#type: String,
        #[serde(default)]
        compressed: bool,
        validate: Option<bool>,
        prefetch: Option<Prefetch>,
    }
    let table = cache.take("filecache");
    // Tables of types that are not chosen do nothing.
    drop(cache.take("fscache"));
    let keys: Keys = reader.read(&cache, "cache")?;
    config.cache.dir =
        settings::cache_dir(&keys.r#type, "cache.type", table, "cache.filecache", reader)?;
    settings::note_cache(config, "cache", keys.compressed, keys.validate);
    if let Some(prefetch) = keys.prefetch {
        config.prefetch = Some(prefetch.check(reader, "cache.prefetch")?);
    }
    Ok(())
}

fn rafs(rafs: &Tree, reader: &mut Reader, config: &mut Config) -> Result<(), ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(default = "direct")]
        mode: String,
        #[serde(default = "default_batch_size")]
        batch_size: u64,
        validate: Option<bool>,
        enable_xattr: Option<bool>,
        #[serde(default)]
        iostats_files: bool,
        #[serde(default)]
        access_pattern: bool,
        #[serde(default)]
        latest_read_files: bool,
        prefetch: Option<Prefetch>,
    }
    let keys: Keys = reader.read(rafs, "rafs")?;
    let mut stream = false;
    if let Some(prefetch) = keys.prefetch {
        stream = prefetch.stream_prefetch;
        let checked = prefetch.check(reader, "rafs.prefetch")?;
        // What the file system prefetches goes before what the cache does.
        let other = config.prefetch.as_ref().is_some_and(|other| other.enable);
        if checked.enable || !other {
            config.prefetch = Some(checked);
        }
    }
    config.access_pattern = keys.access_pattern;
    let rafs = Rafs {
        mode: ("rafs.mode", keys.mode),
        batch_size: ("rafs.batch_size", keys.batch_size),
        validate: ("rafs.validate", keys.validate),
        xattr: ("rafs.enable_xattr", keys.enable_xattr),
        ignored: &[
            ("rafs.iostats_files", keys.iostats_files),
            ("rafs.latest_read_files", keys.latest_read_files),
            ("rafs.prefetch.stream_prefetch", stream),
        ],
    };
    rafs.apply(reader, config)
}

fn direct() -> String {
    "direct".to_owned()
}
