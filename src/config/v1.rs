//! nydusd's first form: JSON that starts with `device`.

use serde::Deserialize;

use super::backends;
use super::document::{Form, Tree};
use super::error::ConfigError;
use super::extra;
use super::model::{Config, PrefetchConfig};
use super::reader::Reader;
use super::settings::{self, Rafs, default_batch_size, default_threads};

/// Reads a document of this form.
pub(super) fn parse(mut document: Tree, reader: &mut Reader) -> Result<Config, ConfigError> {
    let mut config = Config::empty(Form::V1);
    extra::parse(&mut document, reader, &mut config)?;
    let device = document.take("device");
    let device = device.ok_or_else(|| reader.wrong("device", "is missing"))?;
    self::device(device, reader, &mut config)?;
    rafs(&document, reader, &mut config)?;
    config.unknown = reader.take_unknown();
    Ok(config)
}

fn device(mut device: Tree, reader: &mut Reader, config: &mut Config) -> Result<(), ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(default)]
        id: String,
    }
    match device.take("backend") {
        Some(backend) => {
            let backend = backends::source(backend, reader, "device.backend")?;
            config.sources.push(backend);
        }
        None if config.sources.is_empty() => {
            return Err(reader.wrong("device.backend", "is missing"));
        }
        None => {}
    }
    settings::refuse_external(&mut device, reader, "device.external_backends")?;
    if let Some(cache) = device.take("cache") {
        self::cache(cache, reader, config)?;
    }
    let keys: Keys = reader.read(&device, "device")?;
    config.id = keys.id;
    Ok(())
}

fn cache(mut cache: Tree, reader: &mut Reader, config: &mut Config) -> Result<(), ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(default)]
        r#type: String,
        #[serde(default)]
        compressed: bool,
        validate: Option<bool>,
    }
    let at = "device.cache";
    let table = cache.take("config");
    let keys: Keys = reader.read(&cache, at)?;
    config.cache.dir = settings::cache_dir(
        &keys.r#type,
        "device.cache.type",
        table,
        "device.cache.config",
        reader,
    )?;
    settings::note_cache(config, at, keys.compressed, keys.validate);
    Ok(())
}

fn rafs(document: &Tree, reader: &mut Reader, config: &mut Config) -> Result<(), ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        mode: String,
        digest_validate: Option<bool>,
        #[serde(default)]
        iostats_files: bool,
        enable_xattr: Option<bool>,
        #[serde(default)]
        access_pattern: bool,
        #[serde(default)]
        latest_read_files: bool,
        #[serde(default = "default_batch_size")]
        amplify_io: u64,
        #[serde(default)]
        fs_prefetch: Prefetch,
    }
    #[derive(Deserialize)]
    #[serde(default)]
    struct Prefetch {
        enable: bool,
        threads_count: usize,
        merging_size: u64,
        bandwidth_rate: u32,
        prefetch_all: bool,
        stream_prefetch: bool,
    }
    impl Default for Prefetch {
        fn default() -> Self {
            Self {
                enable: false,
                threads_count: default_threads(),
                merging_size: default_batch_size(),
                bandwidth_rate: 0,
                // Unlike in the second form.
                prefetch_all: true,
                stream_prefetch: false,
            }
        }
    }
    let keys: Keys = reader.read(document, "")?;
    let prefetch = PrefetchConfig {
        enable: keys.fs_prefetch.enable,
        all: keys.fs_prefetch.prefetch_all,
        threads: keys.fs_prefetch.threads_count,
        batch_size: keys.fs_prefetch.merging_size,
        bandwidth: keys.fs_prefetch.bandwidth_rate.into(),
    };
    let prefetch = settings::prefetch(
        prefetch,
        reader,
        "fs_prefetch.threads_count",
        "fs_prefetch.merging_size",
    )?;
    config.prefetch = Some(prefetch);
    config.access_pattern = keys.access_pattern;
    let rafs = Rafs {
        mode: ("mode", keys.mode),
        batch_size: ("amplify_io", keys.amplify_io),
        validate: ("digest_validate", keys.digest_validate),
        xattr: ("enable_xattr", keys.enable_xattr),
        ignored: &[
            ("iostats_files", keys.iostats_files),
            ("latest_read_files", keys.latest_read_files),
            (
                "fs_prefetch.stream_prefetch",
                keys.fs_prefetch.stream_prefetch,
            ),
        ],
    };
    rafs.apply(reader, config)
}
