//! Listening.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use super::daemon::Daemon;
use super::limit::Limited;
use super::router;
use crate::socket::{self, SocketError, SocketFile};

/// Most connections at once, each for the API and for metrics. Kata's runtimes
/// make one per question and leave them open.
const CONNECTIONS: usize = 512;

/// Why nobody can ask.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The socket of the API cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The address of the metrics cannot be had.
    #[error("Cannot listen on {address} for metrics; choose another --metrics-address")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The API cannot be served.
    #[error("Cannot serve the API")]
    Serve(#[source] io::Error),
}

/// Binds the address of the metrics. A port below 1024 needs CAP_NET_BIND_SERVICE,
/// which a daemon gives up: call it before.
///
/// # Errors
/// When the address cannot be had.
pub fn listen_for_metrics(address: SocketAddr) -> Result<TcpListener, ControlError> {
    TcpListener::bind(address).map_err(|source| ControlError::Address { address, source })
}

/// The sockets of the API, which clients can connect to from now on; they are
/// answered after [`Bound::start`].
#[derive(Default)]
pub struct Bound {
    api: Option<UnixListener>,
    file: Option<Arc<SocketFile>>,
    metrics: Option<TcpListener>,
}

impl Bound {
    /// Binds the path of the API, if it is asked for; `metrics` is from
    /// [`listen_for_metrics`]. Starts nothing.
    ///
    /// # Errors
    /// When the path cannot be had.
    pub fn new(api: Option<&Path>, metrics: Option<TcpListener>) -> Result<Self, ControlError> {
        let mut bound = Self {
            metrics,
            ..Self::default()
        };
        if let Some(path) = api {
            let (listener, file) = socket::listen(path)?;
            bound.api = Some(listener);
            bound.file = Some(Arc::new(file));
        }
        Ok(bound)
    }

    /// Whether anything was asked for.
    pub fn is_wanted(&self) -> bool {
        self.api.is_some() || self.metrics.is_some()
    }

    /// What removes the socket's file when the process ends.
    pub fn remover(&self) -> impl Fn() + Send + Sync + 'static {
        let file = self.file.clone();
        move || {
            if let Some(file) = &file {
                file.remove();
            }
        }
    }

    /// Answers from now on, until the process ends. If nothing was asked for,
    /// nothing is started, not even the runtime.
    ///
    /// # Errors
    /// When the runtime cannot be started or has no use for the sockets.
    pub fn start(self, daemon: &Arc<Daemon>) -> Result<(), ControlError> {
        if !self.is_wanted() {
            return Ok(());
        }
        let runtime = crate::runtime::handle().map_err(ControlError::Serve)?;
        let _inside = runtime.enter();
        if let Some(listener) = self.api {
            let file = self.file;
            listener
                .set_nonblocking(true)
                .map_err(ControlError::Serve)?;
            let listener =
                tokio::net::UnixListener::from_std(listener).map_err(ControlError::Serve)?;
            let api = router::api(Arc::clone(daemon));
            runtime.spawn(async move {
                // It ends with the process; the file is ours as long.
                let _file = file;
                let served = axum::serve(Limited::new(listener, CONNECTIONS), api).await;
                if let Err(error) = served {
                    log::error!("The API is served no more: {error}");
                }
            });
        }
        if let Some(listener) = self.metrics {
            listener
                .set_nonblocking(true)
                .map_err(ControlError::Serve)?;
            let listener =
                tokio::net::TcpListener::from_std(listener).map_err(ControlError::Serve)?;
            let metrics = router::metrics(Arc::clone(daemon));
            runtime.spawn(async move {
                let served = axum::serve(Limited::new(listener, CONNECTIONS), metrics).await;
                if let Err(error) = served {
                    log::error!("Metrics are served no more: {error}");
                }
            });
        }
        Ok(())
    }
}
