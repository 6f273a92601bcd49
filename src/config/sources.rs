//! From configured sources to backends in order.

use std::fmt;
use std::sync::Arc;

use ::http::{HeaderName, HeaderValue};

use super::backends::show_host;
use super::model::{
    BackendConfig, BucketConfig, Config, HttpConfig, LocalConfig, MirrorConfig, NetworkConfig,
    RegistryConfig, SourceConfig,
};
use crate::backend::directory::DirectoryBackend;
use crate::backend::http::{self, Http, Transport, headers_from_env, proxy};
use crate::backend::registry::credentials::{self, Credentials};
use crate::backend::registry::{self, Registry};
use crate::backend::sources::{Policy, Source, Sources};
use crate::backend::{Backend, BackendError};
use crate::backend::{oss, s3};

/// The sources of a configuration, connected to nothing yet.
pub struct Connected {
    /// For the store.
    pub sources: Sources,
    /// The credentials of the registries among them, which may be replaced
    /// while they are used.
    pub registries: Vec<Credentials>,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sources.fmt(f)
    }
}

/// Why a source cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourcesError {
    /// A backend refuses its settings.
    #[error("Cannot set up the source of key {key}")]
    Backend {
        /// Path of the source's key.
        key: String,
        /// What the backend said.
        #[source]
        source: Box<BackendError>,
    },
    /// The environment holds no credential.
    #[error("Variable IMAGE_PULL_AUTH cannot be used")]
    Environment(#[source] credentials::BadAuth),
    /// The configuration names no source.
    #[error(
        "No source of blobs is configured: give --blobs DIR, or a backend or blobs in --config"
    )]
    None,
}

impl Config {
    /// Sets up the configured sources. No connection is made and no file is
    /// opened but those of certificates.
    ///
    /// # Errors
    /// When there is none, or a backend refuses its settings.
    pub fn connect(&self) -> Result<Connected, SourcesError> {
        if self.sources.is_empty() {
            return Err(SourcesError::None);
        }
        let mut builder = Builder::default();
        for source in &self.sources {
            builder.add(source)?;
        }
        Ok(Connected {
            sources: Sources::new(builder.sources),
            registries: builder.registries,
        })
    }
}

#[derive(Default)]
struct Builder {
    sources: Vec<Source>,
    registries: Vec<Credentials>,
}

impl Builder {
    fn add(&mut self, source: &SourceConfig) -> Result<(), SourcesError> {
        let failed = |error| SourcesError::Backend {
            key: source.key.clone(),
            source: Box::new(error),
        };
        match &source.backend {
            BackendConfig::Local(config) => self.local(config),
            BackendConfig::Oss(config) => self.oss(config).map_err(failed)?,
            BackendConfig::S3(config) => self.s3(config).map_err(failed)?,
            BackendConfig::Registry(config) => {
                let credentials = who_asks(config)?;
                self.registry(config, &credentials).map_err(failed)?;
                self.registries.push(credentials);
            }
            BackendConfig::Http(config) => self.http(config).map_err(failed)?,
        }
        Ok(())
    }

    fn push(&mut self, backend: impl Backend, policy: Policy) {
        let backend: Arc<dyn Backend> = Arc::new(backend);
        self.sources.push(Source { backend, policy });
    }

    fn local(&mut self, config: &LocalConfig) {
        if let Some(file) = &config.blob_file {
            self.push(DirectoryBackend::file(file.clone()), Policy::default());
        }
        for dir in &config.dirs {
            self.push(DirectoryBackend::new(dir.clone()), Policy::default());
        }
    }

    fn s3(&mut self, config: &BucketConfig) -> Result<(), BackendError> {
        let keys = config.keys.as_ref();
        let options = s3::Options {
            endpoint: config.endpoint.clone(),
            region: config.region.clone(),
            bucket_name: config.bucket_name.clone(),
            object_prefix: config.object_prefix.clone(),
            credentials: keys.map(|keys| s3::Credentials {
                access_key_id: keys.access_key_id.clone(),
                access_key_secret: keys.access_key_secret.clone(),
                session_token: keys.session_token.clone(),
            }),
            style: match config.virtual_host {
                Some(true) => s3::Style::VirtualHost,
                Some(false) | None => s3::Style::Path,
            },
            transport: transport(&config.network),
        };
        for mirror in &config.network.mirrors {
            let mut options = options.clone();
            options.endpoint = mirror.host.reveal().clone();
            options.transport = mirror_transport(&options.transport, mirror);
            self.push(s3::open(&options)?, mirror_policy(mirror));
        }
        self.push(s3::open(&options)?, policy(&config.network));
        Ok(())
    }

    fn oss(&mut self, config: &BucketConfig) -> Result<(), BackendError> {
        let keys = config.keys.as_ref();
        let options = oss::Options {
            endpoint: config.endpoint.clone(),
            bucket_name: config.bucket_name.clone(),
            object_prefix: config.object_prefix.clone(),
            credentials: keys.map(|keys| oss::Credentials {
                access_key_id: keys.access_key_id.clone(),
                access_key_secret: keys.access_key_secret.clone(),
                security_token: keys.session_token.clone(),
            }),
            style: match config.virtual_host {
                Some(false) => oss::Style::Path,
                Some(true) | None => oss::Style::VirtualHost,
            },
            transport: transport(&config.network),
        };
        for mirror in &config.network.mirrors {
            let mut options = options.clone();
            options.endpoint = mirror.host.reveal().clone();
            options.transport = mirror_transport(&options.transport, mirror);
            self.push(oss::open(&options)?, mirror_policy(mirror));
        }
        self.push(oss::open(&options)?, policy(&config.network));
        Ok(())
    }

    fn registry(
        &mut self,
        config: &RegistryConfig,
        credentials: &Credentials,
    ) -> Result<(), BackendError> {
        let options = registry::Options {
            scheme: config.scheme,
            host: config.host.clone(),
            repo: config.repo.clone(),
            credentials: credentials.clone(),
            blob_url_scheme: config.blob_url_scheme,
            blob_redirected_host: config.blob_redirected_host.clone(),
            grants: registry::Grants::default(),
            transport: transport(&config.network),
        };
        for mirror in &config.network.mirrors {
            let mut options = options.clone();
            let url = mirror.host.reveal();
            options.scheme = match url.scheme() {
                "http" => registry::Scheme::Http,
                _ => registry::Scheme::Https,
            };
            options.host = show_host(url);
            options.transport = mirror_transport(&options.transport, mirror);
            self.push(Registry::new(&options)?, mirror_policy(mirror));
        }
        self.push(Registry::new(&options)?, policy(&config.network));
        Ok(())
    }

    fn http(&mut self, config: &HttpConfig) -> Result<(), BackendError> {
        let addr = match &config.address {
            Ok(url) => url.reveal().to_string(),
            Err(socket) => socket.display().to_string(),
        };
        let options = http::Options {
            addr,
            path: config.path.clone(),
            transport: transport(&config.network),
        };
        for mirror in &config.network.mirrors {
            let mut options = options.clone();
            options.addr = mirror.host.reveal().to_string();
            options.transport = mirror_transport(&options.transport, mirror);
            self.push(Http::new(&options)?, mirror_policy(mirror));
        }
        self.push(Http::new(&options)?, policy(&config.network));
        Ok(())
    }
}

/// Who asks a registry: the environment goes before the configuration, as in
/// nydusd, and then comes what docker knows.
fn who_asks(config: &RegistryConfig) -> Result<Credentials, SourcesError> {
    let given = credentials::from_env().map_err(SourcesError::Environment)?;
    Ok(match given.or_else(|| config.credential.clone()) {
        Some(credential) => Credentials::given(credential),
        None => {
            credentials::docker_config().map_or_else(Credentials::anonymous, Credentials::docker)
        }
    })
}

fn transport(config: &NetworkConfig) -> Transport {
    let default = Transport::default();
    Transport {
        connect_timeout: config.connect_timeout.unwrap_or(default.connect_timeout),
        timeout: config.timeout.unwrap_or(default.timeout),
        skip_verify: config.skip_verify,
        ca_cert_files: config.ca_cert_files.clone(),
        headers: headers_from_env(),
        proxy: config.proxy.as_ref().map(|proxy| proxy::Options {
            url: proxy.url.reveal().clone(),
            ping_url: proxy.ping_url.as_ref().map(|url| url.reveal().clone()),
            fallback: proxy.fallback,
            check_interval: proxy.check_interval,
            check_pause_elapsed: proxy.check_pause_elapsed,
            use_http: proxy.use_http,
        }),
        ..default
    }
}

/// As `origin`, but straight to a mirror and with its headers.
fn mirror_transport(origin: &Transport, mirror: &MirrorConfig) -> Transport {
    let mut transport = origin.clone();
    transport.proxy = None;
    transport.dragonfly = true;
    for (name, value) in &mirror.headers {
        // Both were looked at when the configuration was read.
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value.reveal()),
        ) {
            transport.headers.set(name, value);
        }
    }
    transport
}

fn policy(config: &NetworkConfig) -> Policy {
    let default = Policy::default();
    Policy {
        retry_limit: match config.retry_limit {
            0 => default.retry_limit,
            limit => limit.into(),
        },
        ..default
    }
}

fn mirror_policy(mirror: &MirrorConfig) -> Policy {
    Policy {
        failures: u32::from(mirror.failure_limit).max(1),
        cool_down: mirror.health_check_interval,
        ..Policy::default()
    }
}
