//! The options of the API, and what it is told about a served image.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;

use crate::backend::registry::credentials::Credentials;
use crate::cli::image_options::ImageOptions;
use crate::cli::{Failure, logging};
use crate::control::{Bound, Daemon, Instance, ShownSource, listen_for_metrics};
use crate::fuse::Stats;
use crate::image::Image;
use crate::prefetch::Prefetch;
use crate::store::Store;

#[derive(Debug, Args)]
pub(super) struct ControlArguments {
    /// Unix socket of the HTTP API, for this user alone.
    #[arg(long, value_name = "PATH")]
    api_socket: Option<PathBuf>,
    /// Address at which everybody can read the metrics, and nothing else.
    #[arg(long, value_name = "IP:PORT")]
    metrics_address: Option<SocketAddr>,
    /// Name of this daemon, for the API.
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
}

impl ControlArguments {
    /// Binds the address of the metrics, while the process may still have any port.
    pub(super) fn listen(&self) -> Result<Option<TcpListener>, Failure> {
        let address = self.metrics_address.map(listen_for_metrics);
        Ok(address.transpose()?)
    }

    /// Binds the rest of what is asked for: clients may connect from now on.
    pub(super) fn bind(&self, metrics: Option<TcpListener>) -> Result<Bound, Failure> {
        Ok(Bound::new(self.api_socket.as_deref(), metrics)?)
    }

    /// Whether the API is asked for.
    pub(super) fn has_api(&self) -> bool {
        self.api_socket.is_some()
    }

    /// A daemon that ends by its own SIGTERM.
    pub(super) fn daemon(&self) -> Arc<Daemon> {
        daemon(self.id.clone())
    }
}

/// A daemon that ends by its own SIGTERM.
pub(super) fn daemon(id: Option<String>) -> Arc<Daemon> {
    let end = || {
        let own = nix::unistd::Pid::this();
        if let Err(error) = nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGTERM) {
            log::error!("Cannot end at the API's request: {error}");
        }
    };
    // Whoever answers the API may not send signals.
    let exit = move || drop(crate::runtime::blocking(end));
    Arc::new(Daemon::new(id, &logging::EVENTS, exit))
}

/// What the API is told about the image that the options name.
pub(super) fn instance(
    options: &ImageOptions,
    (image, store): (&Arc<Image>, &Arc<Store>),
    prefetch: &Prefetch,
    stats: &Arc<Stats>,
    registries: Vec<Credentials>,
) -> Result<Instance, Failure> {
    Ok(Instance {
        image: Arc::clone(image),
        store: Arc::clone(store),
        prefetch: Arc::clone(prefetch.progress()),
        stats: Arc::clone(stats),
        sources: options
            .sources()?
            .into_iter()
            .map(|(kind, config)| ShownSource { kind, config })
            .collect(),
        registries,
        verify: options.verify(),
        cache: options.cache_dir()?,
        cache_limit: options.cache_limit()?,
        mounted: SystemTime::now(),
    })
}
