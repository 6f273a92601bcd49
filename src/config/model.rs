//! What a configuration comes to, whatever its form: validated values only.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::document::Form;
use crate::backend::http::url::SafeUrl;
pub use crate::backend::registry::Scheme;
use crate::backend::registry::credentials::Credential;
use crate::backend::secret::Secret;
use crate::chunk::Digest;

/// A validated configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The form that it was written in.
    pub form: Form,
    /// Name of the instance; may be empty.
    pub id: String,
    /// Root digest that the image must have.
    pub root: Option<Digest>,
    /// SHA-256 that the bootstrap file must have.
    pub bootstrap_digest: Option<Digest>,
    /// Refuse an image that nothing pins.
    pub require_root: bool,
    /// File of allowed digests, see [`super::Policy`].
    pub policy: Option<PathBuf>,
    /// First id of the image, the id that it is shown as, and how many ids from
    /// there on are shown as others.
    pub id_mapping: Option<[u32; 3]>,
    /// Where blobs come from, in the order in which they are asked.
    pub sources: Vec<SourceConfig>,
    /// Where chunks are kept.
    pub cache: CacheConfig,
    /// What is fetched before it is asked for; none if the configuration has no
    /// say in it.
    pub prefetch: Option<PrefetchConfig>,
    /// Most bytes that a miss may be widened to; 0 for no widening. None if
    /// the configuration says nothing.
    pub batch_size: Option<u64>,
    /// Record which files and chunks are read first.
    pub access_pattern: bool,
    /// Paths of keys that nobody knows.
    pub unknown: Vec<String>,
    /// What is known but does nothing here, one sentence each.
    pub notes: Vec<String>,
}

impl Config {
    /// One that says nothing.
    pub fn empty(form: Form) -> Self {
        Self {
            form,
            id: String::new(),
            root: None,
            bootstrap_digest: None,
            require_root: false,
            policy: None,
            id_mapping: None,
            sources: Vec::new(),
            cache: CacheConfig::default(),
            prefetch: None,
            batch_size: None,
            access_pattern: false,
            unknown: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether a source is reached by network, so that there are or will be
    /// credentials: given, found in docker's files, or tokens.
    pub fn is_remote(&self) -> bool {
        self.sources
            .iter()
            .any(|source| !matches!(source.backend, BackendConfig::Local(_)))
    }
}

/// Where chunks are kept on this host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CacheConfig {
    /// Directory; Tidegate uses its subdirectory `tidegate`.
    pub dir: Option<PathBuf>,
    /// Most bytes that all images' chunks may take there.
    pub limit: Option<u64>,
}

/// What is fetched before it is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrefetchConfig {
    /// Whether anything is.
    pub enable: bool,
    /// The whole image, after what its table or a list names.
    pub all: bool,
    /// nydusd's number of threads, of which Tidegate has none.
    pub threads: usize,
    /// nydusd's largest request in bytes; Tidegate chooses its own.
    pub batch_size: u64,
    /// Most bytes per second; 0 for no limit.
    pub bandwidth: u64,
}

impl Default for PrefetchConfig {
    fn default() -> Self {
        Self {
            enable: false,
            all: false,
            threads: 8,
            batch_size: 1 << 20,
            bandwidth: 0,
        }
    }
}

/// A source of blobs.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Path of its key in the configuration, for messages.
    pub key: String,
    /// nydusd's name of its type.
    pub kind: &'static str,
    /// What it is.
    pub backend: BackendConfig,
    /// Its keys without the secrets, for the API.
    pub shown: Value,
}

/// The kinds of sources.
#[derive(Clone, Debug)]
pub enum BackendConfig {
    /// Files of this host.
    Local(LocalConfig),
    /// An OCI registry.
    Registry(RegistryConfig),
    /// A bucket of Alibaba Cloud OSS.
    Oss(BucketConfig),
    /// A bucket of S3.
    S3(BucketConfig),
    /// A server that has each blob under its id.
    Http(HttpConfig),
}

/// Files of this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalConfig {
    /// One file that is every blob.
    pub blob_file: Option<PathBuf>,
    /// Directories of files named by their blobs' ids, in order.
    pub dirs: Vec<PathBuf>,
}

/// An OCI registry.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// How the registry is spoken to.
    pub scheme: Scheme,
    /// Host, with a port if it is not the scheme's.
    pub host: String,
    /// Repository, such as `library/debian`.
    pub repo: String,
    /// Who asks, if the configuration says so.
    pub credential: Option<Credential>,
    /// Scheme that redirects of blobs are changed to.
    pub blob_url_scheme: Option<Scheme>,
    /// Host that redirects of blobs are changed to.
    pub blob_redirected_host: Option<String>,
    /// How it is reached.
    pub network: NetworkConfig,
}

/// A bucket of OSS or S3.
#[derive(Clone, Debug)]
pub struct BucketConfig {
    /// The service, without the bucket.
    pub endpoint: Url,
    /// Region; S3 only.
    pub region: String,
    /// The bucket.
    pub bucket_name: String,
    /// What stands before the blob id in an object's name.
    pub object_prefix: String,
    /// Keys; anonymous without.
    pub keys: Option<BucketKeys>,
    /// Whether the bucket is part of the host's name; none for the service's
    /// custom.
    pub virtual_host: Option<bool>,
    /// How it is reached.
    pub network: NetworkConfig,
}

/// Keys of a bucket.
#[derive(Clone, Debug)]
pub struct BucketKeys {
    /// Identifies.
    pub access_key_id: Secret,
    /// Signs.
    pub access_key_secret: Secret,
    /// Belongs to temporary keys.
    pub session_token: Option<Secret>,
}

/// A server that has each blob under its id.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The server, or the path of its Unix socket.
    pub address: Result<HiddenUrl, PathBuf>,
    /// Path of the blobs on the server.
    pub path: String,
    /// How it is reached.
    pub network: NetworkConfig,
}

/// How a remote source is reached.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Longest wait for an answer; none for no limit of its own.
    pub timeout: Option<Duration>,
    /// Longest wait for a connection.
    pub connect_timeout: Option<Duration>,
    /// Retries of one request; 0 leaves the number to Tidegate.
    pub retry_limit: u8,
    /// Believe any TLS certificate.
    pub skip_verify: bool,
    /// Files of further certificate authorities, PEM.
    pub ca_cert_files: Vec<PathBuf>,
    /// A proxy between.
    pub proxy: Option<ProxyConfig>,
    /// Servers that are asked before it.
    pub mirrors: Vec<MirrorConfig>,
}

/// An HTTP proxy, such as Dragonfly's.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// The proxy.
    pub url: HiddenUrl,
    /// Answers 2xx while the proxy is well.
    pub ping_url: Option<HiddenUrl>,
    /// Go without the proxy when it is not.
    pub fallback: bool,
    /// Time between pings.
    pub check_interval: Duration,
    /// Idle time after which pings stop.
    pub check_pause_elapsed: Duration,
    /// Ask the proxy by HTTP for what the source has by HTTPS.
    pub use_http: bool,
}

/// A server that is asked before a registry or bucket.
#[derive(Clone, Debug)]
pub struct MirrorConfig {
    /// Scheme, host and port.
    pub host: HiddenUrl,
    /// Headers that it wants.
    pub headers: Vec<(String, Secret)>,
    /// Answers 2xx while the mirror is well.
    pub ping_url: Option<HiddenUrl>,
    /// Whether tokens come through the mirror.
    pub auth_through: bool,
    /// Time between pings of a mirror that failed.
    pub health_check_interval: Duration,
    /// Failures in a row before it is left out.
    pub failure_limit: u8,
}

/// A URL that may hold a password: it is shown without user and query.
#[derive(Clone, PartialEq, Eq)]
pub struct HiddenUrl(Url);

impl HiddenUrl {
    /// The whole URL: for the one place that uses it.
    pub fn reveal(&self) -> &Url {
        &self.0
    }
}

impl From<Url> for HiddenUrl {
    fn from(url: Url) -> Self {
        Self(url)
    }
}

impl fmt::Display for HiddenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&SafeUrl::from(&self.0), f)
    }
}

impl fmt::Debug for HiddenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
