//! A proxy in front of a source, such as a Dragonfly peer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderValue, Method};
use parking_lot::Mutex;
use tokio::time::Instant;
use url::Url;

use super::Answer;
use super::lane::{Lane, Setup};
use super::url::SafeUrl;
use crate::backend::{BackendError, Class};
use crate::log_limit::LogLimit;

/// Says whose error an answer of a Dragonfly proxy is: `backend` for the
/// source's own.
const ERROR_TYPE: &str = "x-dragonfly-error-type";

/// Which proxy, and when it is used. The defaults are nydusd's.
#[derive(Clone)]
pub struct Options {
    /// The proxy: `http://host:port`; a user and password in it are sent to it.
    pub url: Url,
    /// Answers with a success while the proxy is healthy. Without it the proxy
    /// counts as healthy until a request fails on it.
    pub ping_url: Option<Url>,
    /// Ask the source directly when the proxy fails; otherwise that is an error.
    pub fallback: bool,
    /// Time between pings, and how long a proxy without `ping_url` is left
    /// alone after it failed.
    pub check_interval: Duration,
    /// Pings stop when no request was made for this long, and start again with
    /// the next.
    pub check_pause_elapsed: Duration,
    /// Ask the proxy for `http://` URLs in place of `https://`: it sees the
    /// requests and can serve them from its peers, and speaks TLS to the source
    /// itself.
    pub use_http: bool,
}

impl Options {
    /// A proxy with the default settings.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            ping_url: None,
            fallback: true,
            check_interval: Duration::from_secs(5),
            check_pause_elapsed: Duration::from_secs(300),
            use_http: false,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("url", &SafeUrl::from(&self.url))
            .field("ping_url", &self.ping_url.as_ref().map(SafeUrl::from))
            .field("fallback", &self.fallback)
            .field("check_interval", &self.check_interval)
            .field("check_pause_elapsed", &self.check_pause_elapsed)
            .field("use_http", &self.use_http)
            .finish()
    }
}

/// A proxy and how it fares.
pub(super) struct Proxy {
    options: Options,
    lane: Lane,
    /// For pings, which do not go through the proxy.
    direct: Lane,
    health: Mutex<Health>,
    failures: LogLimit,
}

struct Health {
    healthy: bool,
    last_used: Instant,
    last_failed: Option<Instant>,
    pinging: bool,
}

impl Proxy {
    pub(super) fn new(options: &Options, setup: Setup) -> Result<Self, BackendError> {
        let mut direct = setup.clone();
        direct.proxy = None;
        direct.transport.unix_socket = None;
        let health = Health {
            healthy: true,
            last_used: Instant::now(),
            last_failed: None,
            pinging: false,
        };
        Ok(Self {
            options: options.clone(),
            lane: Lane::new(setup)?,
            direct: Lane::new(direct)?,
            health: Mutex::new(health),
            failures: LogLimit::new(),
        })
    }

    pub(super) fn lane(&self) -> &Lane {
        &self.lane
    }

    pub(super) fn url(&self) -> &Url {
        &self.options.url
    }

    pub(super) fn may_fall_back(&self) -> bool {
        self.options.fallback
    }

    /// The URL that the proxy is asked for.
    pub(super) fn rewrite(&self, url: &Url) -> Url {
        let mut url = url.clone();
        if self.options.use_http && url.scheme() == "https" {
            // Cannot fail between these two schemes; as it is, it would still work.
            let _ = url.set_scheme("http");
        }
        url
    }

    /// Whether to use the proxy now; starts the pings when they rest.
    pub(super) fn is_healthy(self: &Arc<Self>) -> bool {
        let mut health = self.health.lock();
        let now = Instant::now();
        health.last_used = now;
        if self.options.ping_url.is_none() {
            let over = |failed| now.duration_since(failed) >= self.options.check_interval;
            return health.last_failed.is_none_or(over);
        }
        if !health.pinging {
            health.pinging = true;
            tokio::spawn(pings(Arc::downgrade(self)));
        }
        health.healthy
    }

    /// Whether an answer shows that the proxy failed, and not the source behind
    /// it. What the proxy refuses a prefetch is not asked of the source: the
    /// proxy protects it.
    pub(super) fn is_at_fault(&self, answer: &Result<Answer, BackendError>, class: Class) -> bool {
        let (broken, at_fault) = match answer {
            Err(_) => (true, true),
            Ok(answer) => {
                let status = answer.status().as_u16();
                match answer.headers().get(ERROR_TYPE).map(HeaderValue::as_bytes) {
                    Some(b"backend") => (false, false),
                    Some(_) if matches!(status, 403 | 429) => (false, class != Class::Prefetch),
                    Some(_) => (true, true),
                    None => (status == 407, status == 407 || status >= 500),
                }
            }
        };
        if broken {
            self.leave_alone();
        }
        if at_fault && let Some(number) = self.failures.count() {
            let url = SafeUrl::from(&self.options.url);
            match answer {
                Ok(answer) => log::warn!("Proxy {url} answered {} ({number})", answer.status()),
                Err(error) => log::warn!("Proxy {url} failed ({number}): {error}"),
            }
        }
        at_fault
    }

    /// Takes note that the source answered first.
    pub(super) fn is_slow(&self) {
        self.leave_alone();
        if let Some(number) = self.failures.count() {
            let url = SafeUrl::from(&self.options.url);
            log::warn!("Proxy {url} answered later than the source ({number})");
        }
    }

    fn leave_alone(&self) {
        let mut health = self.health.lock();
        health.healthy = false;
        health.last_failed = Some(Instant::now());
    }

    pub(super) fn down(&self, source_name: &str) -> BackendError {
        BackendError::ProxyDown {
            proxy: SafeUrl::from(&self.options.url),
            source_name: source_name.into(),
        }
    }

    /// One ping; then whether to go on, and after how long.
    async fn ping(&self) -> Option<Duration> {
        let url = self.options.ping_url.clone()?;
        let healthy = match self.direct.request(Method::GET, url) {
            Ok(request) => request
                .timeout(self.options.check_interval.max(Duration::from_secs(1)))
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success()),
            Err(_) => false,
        };
        let mut health = self.health.lock();
        if health.healthy != healthy {
            let url = SafeUrl::from(&self.options.url);
            let how = if healthy { "healthy again" } else { "down" };
            log::warn!("Proxy {url} is {how}");
        }
        health.healthy = healthy;
        if health.last_used.elapsed() >= self.options.check_pause_elapsed {
            health.pinging = false;
            return None;
        }
        Some(self.options.check_interval)
    }
}

/// Pings until the proxy is unused for long, or gone.
async fn pings(proxy: Weak<Proxy>) {
    loop {
        let pause = match proxy.upgrade() {
            Some(proxy) => proxy.ping().await,
            None => return,
        };
        match pause {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return,
        }
    }
}
