//! The options by which every subcommand names an image.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::backend::directory::DirectoryBackend;
use crate::backend::sources::Sources;
use crate::chunk::Digest;
use crate::cli::{Failure, size};
use crate::image::{Image, Pin};
use crate::store::{Store, StoreConfig, Verify};

#[derive(Debug, Args)]
pub(super) struct ImageOptions {
    /// The image's metadata, as `build` writes it.
    #[arg(long, value_name = "FILE")]
    pub(super) bootstrap: PathBuf,
    /// Directory that holds the image's blobs, each named by its SHA-256.
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
    /// JSON configuration: `root`, `require_root`, `blobs`, `cache`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the host's chunk cache; without it chunks are kept in a
    /// private temporary file.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Most bytes that the cache directory may take, for all who share it;
    /// what was not used for longest makes room.
    #[arg(long, value_name = "SIZE", value_parser = size::on_disk)]
    cache_limit: Option<u64>,
    /// Root digest that the image must have: everything served is proved
    /// against it.
    #[arg(long, value_name = "sha256:HEX", value_parser = parse_root)]
    root: Option<Digest>,
    /// Refuse an image whose root digest is not given.
    #[arg(long)]
    require_root: bool,
    /// When chunks are proved: on every access, when they are fetched, never.
    #[arg(long, value_name = "always|fetch|off", default_value = "always")]
    verify: Verify,
    /// Longest that one read may wait for a chunk, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    deadline: u64,
    /// Memory for the tags of chunks that were proved once (16 bytes for 4 KiB).
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size::bytes)]
    tag_budget: usize,
}

/// What a configuration file may say. A key that is given on the command line
/// too is taken from there.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    root: Option<String>,
    #[serde(default)]
    require_root: bool,
    blobs: Option<PathBuf>,
    cache: Option<PathBuf>,
}

impl ImageOptions {
    /// Opens the image's metadata.
    pub(super) fn open_image(&self) -> Result<Arc<Image>, Failure> {
        let config = self.config()?;
        let mut root = self.root;
        if let (None, Some(text)) = (root, &config.root) {
            root = Some(parse_root(text).map_err(|reason| format!("Key root: {reason}"))?);
        }
        let require = self.require_root || config.require_root;
        let image = Image::open(&self.bootstrap, Pin { root, require })?;
        let path = self.bootstrap.display();
        match (image.root_digest(), image.pinned()) {
            (Some(root), true) => log::info!("{path}: root sha256:{root} is pinned"),
            (Some(root), false) => {
                log::warn!("{path}: root sha256:{root} is the image's own and not pinned");
            }
            (None, _) => {
                log::warn!(
                    "{path}: no integrity section; only chunk data is checked, metadata is not"
                );
            }
        }
        Ok(Arc::new(image))
    }

    /// Opens the store of the image's chunks.
    pub(super) fn open_store(&self, image: &Arc<Image>) -> Result<Arc<Store>, Failure> {
        self.open_store_with(image, self.verify)
    }

    /// Opens a store that proves everything, whatever `--verify` says.
    pub(super) fn open_checking_store(&self, image: &Arc<Image>) -> Result<Arc<Store>, Failure> {
        self.open_store_with(image, Verify::Always)
    }

    fn open_store_with(&self, image: &Arc<Image>, verify: Verify) -> Result<Arc<Store>, Failure> {
        let config = self.config()?;
        let blobs = self.blobs.clone().or(config.blobs).ok_or(
            "Give the directory of the image's blobs with --blobs DIR or the key blobs of --config",
        )?;
        let backend = Arc::new(DirectoryBackend::new(blobs));
        let store = StoreConfig {
            cache: self.cache.clone().or(config.cache),
            cache_limit: self.cache_limit,
            verify,
            deadline: Duration::from_secs(self.deadline),
            tag_budget: self.tag_budget,
            ..StoreConfig::default()
        };
        let sources = Sources::single(backend);
        let blobs = image.blobs().to_vec();
        let records = Arc::clone(image);
        Ok(Store::open_with(store, sources, blobs, records)?)
    }

    /// The host's cache directory.
    pub(super) fn cache_dir(&self) -> Result<Option<PathBuf>, Failure> {
        Ok(self.cache.clone().or(self.config()?.cache))
    }

    fn config(&self) -> Result<Config, Failure> {
        self.config
            .as_deref()
            .map_or_else(|| Ok(Config::default()), read_config)
    }
}

fn read_config(path: &Path) -> Result<Config, Failure> {
    let text = std::fs::read(path)
        .map_err(|error| format!("Cannot read configuration {}: {error}", path.display()))?;
    serde_json::from_slice(&text)
        .map_err(|error| format!("Configuration {}: {error}", path.display()).into())
}

fn parse_root(text: &str) -> Result<Digest, String> {
    text.strip_prefix("sha256:")
        .and_then(Digest::parse)
        .ok_or_else(|| format!("{text} is no root digest (sha256: and 64 hexadecimal digits)"))
}
