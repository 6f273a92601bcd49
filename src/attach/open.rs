//! From a request to an image that can be served.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory;
use super::rules::HostRules;
use crate::backend::registry::credentials::Credentials;
use crate::config::{self, Config, ConfigError, PrefetchConfig, SourcesError};
use crate::control::{MountRequest, ShownSource};
use crate::core_dumps;
use crate::fs::IdMapping;
use crate::fs::mounts::{MountPath, TreeError};
use crate::fs::passthrough::{KeepError, PassthroughError, PassthroughFs, UnknownCache};
use crate::image::{Image, ImageError, Pin};
use crate::prefetch::{Prefetch, PrefetchError, PrefetchOptions, Scope};
use crate::state::StateError;
use crate::store::{Store, StoreConfig, StoreError, Verify};

/// Why something is not mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The place is taken.
    #[error("Something is mounted at {0} already; unmount it first, or remount")]
    Taken(MountPath),
    /// A mount is being made there.
    #[error("A mount is being made at {0}; wait for it, or unmount it first")]
    Busy(MountPath),
    /// There is nothing to replace.
    #[error("Nothing is mounted at {0}; mount it first")]
    NotMounted(MountPath),
    /// It was unmounted before it was there.
    #[error("{0} was unmounted while it was being mounted")]
    Unmounted(MountPath),
    /// The tree refuses.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// No such kind of file system.
    #[error("File system type {0:?} is not known; rafs and passthrough_fs are")]
    UnknownType(String),
    /// A directory of the host cannot be passed through.
    #[error(transparent)]
    Directory(#[from] PassthroughError),
    /// Its configuration is no JSON object of the known form.
    #[error("The configuration of the directory cannot be used")]
    DirectoryConfig(#[source] serde_json::Error),
    /// No such mode.
    #[error(transparent)]
    Cache(#[from] UnknownCache),
    /// A path of the list is none.
    #[error("{0:?} in prefetch_files is no absolute path")]
    PrefetchFile(String),
    /// The configuration or a policy cannot be used.
    #[error("The configuration of the mount cannot be used")]
    Config(#[from] ConfigError),
    /// The image cannot be opened.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Sources cannot be set up.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing can be fetched ahead.
    #[error(transparent)]
    Prefetch(#[from] PrefetchError),
    /// It is another than before the daemon was killed.
    #[error("{image} has changed: it is {found}, and was {wanted} when it was mounted")]
    Changed {
        /// The bootstrap.
        image: PathBuf,
        /// Its digest.
        found: String,
        /// The digest that it had.
        wanted: String,
    },
    /// The command line is another than before the daemon was killed.
    #[error("The command line names it no more")]
    NotNamed,
    /// A killed daemon's mounts come first.
    #[error("The mounts of the daemon before this one are being brought back; ask again")]
    Restoring,
    /// It cannot be written down.
    #[error(transparent)]
    State(#[from] StateError),
    /// A directory cannot go on where it was.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// Credentials would not be safe.
    #[error("Cannot keep credentials out of core dumps")]
    CoreDumps(#[source] io::Error),
}

/// What can be served.
pub(super) enum Prepared {
    /// An image.
    Image(Box<Served>),
    /// A directory of the host.
    Directory(Box<PassthroughFs>),
}

/// An image that can be served; clones are the same one.
#[derive(Clone)]
pub struct Served {
    /// Its metadata.
    pub image: Arc<Image>,
    /// Its chunks.
    pub store: Arc<Store>,
    /// Owners that are shown as others.
    pub ids: Option<IdMapping>,
    /// What is fetched ahead.
    pub prefetch: Arc<Prefetch>,
    /// Where its blobs come from.
    pub sources: Vec<ShownSource>,
    /// Who asks its registries.
    pub registries: Vec<Credentials>,
    /// When its bytes are proved.
    pub verify: Verify,
    /// The host's cache directory.
    pub cache: Option<PathBuf>,
    /// Most bytes there.
    pub cache_limit: Option<u64>,
}

/// Makes what a request asks for ready to be served.
pub(super) fn prepare(rules: &HostRules, request: &MountRequest) -> Result<Prepared, AttachError> {
    match request.fs_type.as_str() {
        "rafs" => Ok(Prepared::Image(Box::new(image(rules, request)?))),
        "passthrough_fs" | "passthroughfs" | "passthrough" => {
            Ok(Prepared::Directory(Box::new(directory::prepare(request)?)))
        }
        other => Err(AttachError::UnknownType(other.chars().take(64).collect())),
    }
}

fn image(rules: &HostRules, request: &MountRequest) -> Result<Served, AttachError> {
    let config = config::parse(request.config.reveal())?;
    let path = Path::new(&request.source);
    remark(path, &config);
    let files = request.prefetch_files.as_deref();
    let files = files.map(absolute).transpose()?;
    let allowed = rules.allowed(config.policy.as_deref())?;
    let pin = Pin {
        root: config.root,
        bootstrap: config.bootstrap_digest,
        require: rules.require_root || config.require_root,
        allowed: allowed.digests,
    };
    let image = Arc::new(Image::open(path, pin)?);
    announce(&image);
    if config.is_remote() {
        core_dumps::forbid().map_err(AttachError::CoreDumps)?;
    }
    let connected = config.connect()?;
    let cache = rules.cache.clone().or(config.cache.dir.clone());
    let cache_limit = rules.cache_limit.or(config.cache.limit);
    let settings = StoreConfig {
        cache: cache.clone(),
        cache_limit,
        verify: rules.verify,
        allow_unverified: allowed.unverified,
        deadline: rules.deadline,
        tag_budget: rules.tag_budget,
        ..StoreConfig::default()
    };
    let blobs = image.blobs().to_vec();
    let records = Arc::clone(&image);
    let store = Store::open_with(settings, connected.sources, blobs, records)?;
    let limit = config.prefetch.as_ref().map(|prefetch| prefetch.bandwidth);
    let prefetch = PrefetchOptions {
        scope: scope(config.prefetch.as_ref()),
        files,
        bandwidth: limit.filter(|&limit| limit > 0),
        cache: cache.clone(),
        ..PrefetchOptions::default()
    };
    let prefetch = Arc::new(Prefetch::start(&prefetch, &image, &store)?);
    let shown = config.sources.iter().map(|source| ShownSource {
        kind: source.kind,
        config: source.shown.clone(),
    });
    Ok(Served {
        image,
        store,
        ids: id_mapping(&config),
        prefetch,
        sources: shown.collect(),
        registries: connected.registries,
        verify: rules.verify,
        cache,
        cache_limit,
    })
}

/// The mapping of owners that a configuration asks for.
pub fn id_mapping(config: &Config) -> Option<IdMapping> {
    let [internal, external, count] = config.id_mapping?;
    IdMapping::new(internal, external, count)
}

/// Says what an opened image is proved against.
pub fn announce(image: &Image) {
    let path = image.path().display();
    match (image.root_digest(), image.pinned()) {
        (Some(root), true) => log::info!("{path}: root sha256:{root} is pinned"),
        (Some(root), false) => {
            log::warn!("{path}: root sha256:{root} is the image's own and not pinned");
        }
        (None, true) => log::info!("{path}: no integrity section; the file is pinned"),
        (None, false) if image.root_inode_digest().is_some() => {
            log::warn!(
                "{path}: RAFS v5, not pinned; names, owners, modes and xattrs are not checked"
            );
        }
        (None, false) => {
            log::warn!("{path}: no integrity section; only chunk data is checked, metadata is not");
        }
    }
}

/// What nydusd would prefetch; Tidegate's default where it has no say.
pub fn scope(config: Option<&PrefetchConfig>) -> Scope {
    match config {
        None => Scope::default(),
        Some(config) if !config.enable => Scope::Off,
        Some(config) if config.all => Scope::All,
        Some(_) => Scope::Table,
    }
}

fn absolute(list: &[String]) -> Result<Vec<Vec<u8>>, AttachError> {
    let mut files = Vec::new();
    for file in list.iter().filter(|file| !file.is_empty()) {
        if !file.starts_with('/') {
            return Err(AttachError::PrefetchFile(file.chars().take(256).collect()));
        }
        files.push(file.as_bytes().to_vec());
    }
    Ok(files)
}

/// Says what of a configuration is not used.
fn remark(path: &Path, config: &Config) {
    let path = path.display();
    if !config.unknown.is_empty() {
        let keys = config.unknown.join(", ");
        log::warn!("Configuration for {path}: left out what is not known: {keys}");
    }
    for note in &config.notes {
        log::debug!("Configuration for {path}: {note}");
    }
}
