//! The options by which every subcommand names an image.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;

use crate::attach::{self, HostRules};
use crate::backend::directory::DirectoryBackend;
use crate::backend::sources::Sources;
use crate::chunk::Digest;
use crate::cli::{Failure, size};
use crate::config::{self, Config, Connected, Form, Policy};
use crate::core_dumps;
use crate::image::{Allowed, Image, Pin};
use crate::store::{Store, StoreConfig, Verify};

#[derive(Debug, Args)]
pub(super) struct ImageOptions {
    /// The image's metadata, as `build` writes it.
    #[arg(long, value_name = "FILE")]
    pub(super) bootstrap: PathBuf,
    #[command(flatten)]
    how: ServingOptions,
}

impl ImageOptions {
    /// Opens the image's metadata.
    pub(super) fn open_image(&self) -> Result<Arc<Image>, Failure> {
        self.how.open_bootstrap(&self.bootstrap)
    }
}

impl Deref for ImageOptions {
    type Target = ServingOptions;

    fn deref(&self) -> &ServingOptions {
        &self.how
    }
}

/// How an image is served, but for which.
#[derive(Debug, Args)]
pub(super) struct ServingOptions {
    /// Directory that holds the image's blobs, each named by its SHA-256.
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
    /// Configuration: nydusd's (JSON v1, JSON v2 or TOML v2) or Tidegate's own.
    /// What is on the command line too is taken from there.
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
    /// SHA-256 that the bootstrap file must have.
    #[arg(long, value_name = "sha256:HEX", value_parser = parse_root)]
    bootstrap_digest: Option<Digest>,
    /// File of the root digests and bootstrap digests that are allowed (JSON).
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Refuse an image that no given digest vouches for.
    #[arg(long)]
    require_root: bool,
    /// When chunks are proved: on every access, when they are fetched, never.
    #[arg(long, value_name = "always|fetch|off", default_value = "always")]
    verify: Verify,
    /// Serve data of which the image gives no digests (tarfs) unproved.
    #[arg(long)]
    allow_unverified: bool,
    /// Longest that one read may wait for a chunk, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    deadline: u64,
    /// Memory for the tags of chunks that were proved once (16 bytes for 4 KiB).
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size::bytes)]
    tag_budget: usize,
    /// The configuration, read once.
    #[arg(skip)]
    loaded: OnceLock<Config>,
}

impl ServingOptions {
    /// What mounts of the API are held to.
    pub(super) fn rules(&self) -> HostRules {
        HostRules {
            policy: self.policy.clone(),
            require_root: self.require_root,
            verify: self.verify,
            deadline: Duration::from_secs(self.deadline),
            tag_budget: self.tag_budget,
            cache: self.cache.clone(),
            cache_limit: self.cache_limit,
        }
    }

    /// Opens an image's metadata.
    pub(super) fn open_bootstrap(&self, bootstrap: &Path) -> Result<Arc<Image>, Failure> {
        let image = Image::open(bootstrap, self.pin()?)?;
        attach::announce(&image);
        Ok(Arc::new(image))
    }

    /// What the command line and the configuration demand of the image.
    fn pin(&self) -> Result<Pin, Failure> {
        let config = self.config()?;
        let policy = self.policy.as_deref().or(config.policy.as_deref());
        let policy = policy.map(Policy::load).transpose()?;
        Ok(Pin {
            root: self.root.or(config.root),
            bootstrap: self.bootstrap_digest.or(config.bootstrap_digest),
            require: self.require_root || config.require_root,
            allowed: policy.map(|policy| Allowed {
                roots: policy.roots,
                bootstraps: policy.bootstrap_digests,
                only: policy.require,
            }),
        })
    }

    /// Sets up the sources of blobs: `--blobs`, else those of the
    /// configuration.
    pub(super) fn connect(&self) -> Result<Connected, Failure> {
        Ok(match &self.blobs {
            Some(dir) => Connected {
                sources: Sources::single(Arc::new(DirectoryBackend::new(dir.clone()))),
                registries: Vec::new(),
            },
            None => {
                let config = self.config()?;
                if config.is_remote() {
                    core_dumps::forbid().map_err(|error| {
                        format!("Cannot switch core dumps off to protect credentials: {error}")
                    })?;
                }
                config.connect()?
            }
        })
    }

    /// Opens the store of the image's chunks.
    pub(super) fn open_store(&self, image: &Arc<Image>) -> Result<Arc<Store>, Failure> {
        self.open_store_with(image, self.connect()?.sources, self.verify)
    }

    /// Opens a store over sources that [`ServingOptions::connect`] set up.
    pub(super) fn open_store_over(
        &self,
        image: &Arc<Image>,
        sources: Sources,
    ) -> Result<Arc<Store>, Failure> {
        self.open_store_with(image, sources, self.verify)
    }

    /// Opens a store that proves everything, whatever `--verify` says.
    pub(super) fn open_checking_store(&self, image: &Arc<Image>) -> Result<Arc<Store>, Failure> {
        self.open_store_with(image, self.connect()?.sources, Verify::Always)
    }

    fn open_store_with(
        &self,
        image: &Arc<Image>,
        sources: Sources,
        verify: Verify,
    ) -> Result<Arc<Store>, Failure> {
        let store = StoreConfig {
            cache: self.cache_dir()?,
            cache_limit: self.cache_limit()?,
            verify,
            allow_unverified: self.allow_unverified,
            deadline: Duration::from_secs(self.deadline),
            tag_budget: self.tag_budget,
            ..StoreConfig::default()
        };
        let blobs = image.blobs().to_vec();
        let records = Arc::clone(image);
        Ok(Store::open_with(store, sources, blobs, records)?)
    }

    /// When chunks are proved.
    pub(super) fn verify(&self) -> Verify {
        self.verify
    }

    /// Type and shown keys of each source.
    pub(super) fn sources(&self) -> Result<Vec<(&'static str, serde_json::Value)>, Failure> {
        if let Some(dir) = &self.blobs {
            let keys = serde_json::json!({ "dir": dir.display().to_string() });
            return Ok(vec![("localfs", keys)]);
        }
        let sources = self.config()?.sources.iter();
        Ok(sources
            .map(|source| (source.kind, source.shown.clone()))
            .collect())
    }

    /// Limit of the host's cache directory.
    pub(super) fn cache_limit(&self) -> Result<Option<u64>, Failure> {
        Ok(self.cache_limit.or(self.config()?.cache.limit))
    }

    /// The host's cache directory.
    pub(super) fn cache_dir(&self) -> Result<Option<PathBuf>, Failure> {
        Ok(self.cache.clone().or(self.config()?.cache.dir.clone()))
    }

    /// The configuration, which is read and remarked on once.
    pub(super) fn config(&self) -> Result<&Config, Failure> {
        if let Some(config) = self.loaded.get() {
            return Ok(config);
        }
        let config = match &self.config {
            None => Config::empty(Form::OwnJson),
            Some(path) => {
                let config = config::load(path)?;
                let path = path.display();
                for key in &config.unknown {
                    log::warn!("Configuration {path}: key {key} is not known and left out");
                }
                for note in &config.notes {
                    log::info!("Configuration {path}: {note}");
                }
                config
            }
        };
        Ok(self.loaded.get_or_init(|| config))
    }
}

fn parse_root(text: &str) -> Result<Digest, String> {
    text.strip_prefix("sha256:")
        .and_then(Digest::parse)
        .ok_or_else(|| format!("{text} is no root digest (sha256: and 64 hexadecimal digits)"))
}
