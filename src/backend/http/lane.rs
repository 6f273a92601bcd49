//! Connections of one kind: direct, or through a proxy.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use url::Url;

use super::Transport;
use crate::backend::BackendError;
use crate::backend::error::chain;

/// How long an unused connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A pool of connections. The part that speaks TLS is made with the first
/// `https` URL, since loading the system's certificates takes milliseconds.
pub(super) struct Lane {
    plain: reqwest::Client,
    tls: OnceLock<reqwest::Client>,
    setup: Setup,
}

/// What connections are made from.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) source_name: std::sync::Arc<str>,
    pub(super) transport: Transport,
    pub(super) certificates: Vec<reqwest::Certificate>,
    pub(super) proxy: Option<Url>,
}

impl Setup {
    pub(super) fn failed(&self, what: impl fmt::Display) -> BackendError {
        BackendError::Setup {
            source_name: self.source_name.as_ref().into(),
            reason: what.to_string().into(),
        }
    }

    fn client(&self, tls: bool) -> Result<reqwest::Client, BackendError> {
        let transport = &self.transport;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(transport.connect_timeout)
            .pool_idle_timeout(KEEP_ALIVE);
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(self.proxy(proxy)?);
        } else if let Some(socket) = &transport.unix_socket {
            builder = builder.unix_socket(socket.as_path());
        }
        builder = if tls {
            builder
                .tls_certs_merge(self.certificates.iter().cloned())
                .tls_danger_accept_invalid_certs(transport.skip_verify)
        } else {
            builder.tls_certs_only([])
        };
        let client = builder.build();
        client.map_err(|error| self.failed(format_args!("the HTTP client: {}", chain(&error))))
    }

    /// User and password are taken out of the URL, which the client logs.
    fn proxy(&self, url: &Url) -> Result<reqwest::Proxy, BackendError> {
        let mut bare = url.clone();
        let stripped = bare.set_username("").and_then(|()| bare.set_password(None));
        stripped.map_err(|()| self.failed("the proxy's URL has no host"))?;
        let proxy = reqwest::Proxy::all(bare);
        let mut proxy = proxy.map_err(|error| self.failed(format_args!("the proxy: {error}")))?;
        if !url.username().is_empty() {
            let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy();
            let user = decode(url.username());
            let password = decode(url.password().unwrap_or_default());
            let value = http_auth::basic::encode_credentials(&user, &password);
            let mut value = HeaderValue::try_from(value).map_err(|error| self.failed(error))?;
            value.set_sensitive(true);
            proxy = proxy.custom_http_auth(value);
        }
        Ok(proxy)
    }
}

impl Lane {
    pub(super) fn new(setup: Setup) -> Result<Self, BackendError> {
        // A provider that was installed before, by whomever, is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = OnceLock::new();
        Ok(Self {
            plain: setup.client(false)?,
            tls,
            setup,
        })
    }

    /// A request with the client that fits its URL.
    pub(super) fn request(
        &self,
        method: Method,
        url: Url,
    ) -> Result<reqwest::RequestBuilder, BackendError> {
        let client = if url.scheme() == "https" {
            match self.tls.get() {
                Some(client) => client,
                None => {
                    let made = self.setup.client(true)?;
                    self.tls.get_or_init(|| made)
                }
            }
        } else {
            &self.plain
        };
        Ok(client.request(method, url))
    }
}

/// Whether an extra header stays with the source's own server.
pub(super) fn stays_home(name: &http::HeaderName) -> bool {
    *name == AUTHORIZATION || *name == http::header::COOKIE
}
