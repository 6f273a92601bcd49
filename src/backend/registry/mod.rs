//! Blobs of a repository of an OCI registry:
//! `GET /v2/<repository>/blobs/sha256:<id>`, as
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md> has it.
//!
//! One range costs one request: what a registry demands (a password or a token)
//! and where it redirects to are learned once and used until they fail.
//!
//! May use: `http`, the words of `backend`. Used by: `cli`, `config`.

mod auth;
mod challenge;
pub mod credentials;
mod docker;
mod exchange;
mod options;
mod token;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex as Turn;
use url::Url;

use self::auth::Auth;
use super::http::url::same_origin;
use super::http::{Answer, Client, Follow, Redirects};
use super::{Backend, BackendError, BlobRange, Body, Opening};

pub use exchange::{Content, Exchange, Stream};
pub use options::{Grants, Options, Scheme, UnknownScheme};

/// A repository of a registry.
pub struct Registry {
    name: String,
    /// `<scheme>://<host>/v2/<repository>/blobs/`.
    base: Url,
    client: Arc<Client>,
    auth: Arc<Auth>,
    redirects: Redirects,
    scheme: Option<Scheme>,
    host: Option<Url>,
    first: Turn<()>,
    met: AtomicBool,
}

impl Registry {
    /// A backend over a repository.
    ///
    /// # Errors
    /// When host or repository cannot be part of a URL, or the client cannot be
    /// set up.
    pub fn new(options: &Options) -> Result<Self, BackendError> {
        let name = format!("registry {}/{}", options.host, options.repo);
        let bad = |reason: &str| BackendError::Setup {
            source_name: name.as_str().into(),
            reason: reason.into(),
        };
        let scheme = options.scheme.as_str();
        let home = host_url(scheme, &options.host)
            .ok_or_else(|| bad("`host` is not a host name with or without a port"))?;
        let repo = options.repo.trim_matches('/');
        let path = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        if repo.is_empty() || repo.contains("..") || !repo.bytes().all(path) {
            return Err(bad("`repo` is not the name of a repository"));
        }
        let host = match &options.blob_redirected_host {
            Some(host) if !host.is_empty() => {
                let bad = || bad("`blob_redirected_host` is not a host name");
                Some(host_url(scheme, host).ok_or_else(bad)?)
            }
            _ => None,
        };
        let mut base = home.clone();
        base.set_path(&format!("/v2/{repo}/blobs/"));
        let client = Arc::new(Client::new(&name, &options.transport)?);
        let credentials = options.credentials.clone();
        let grants = options.grants.clone();
        let auth = Auth::new(&name, home, repo, Arc::clone(&client), credentials, grants);
        Ok(Self {
            name,
            base,
            client,
            auth: Arc::new(auth),
            redirects: Redirects::default(),
            scheme: options.blob_url_scheme,
            host,
            first: Turn::new(()),
            met: AtomicBool::new(false),
        })
    }

    async fn read(&self, range: BlobRange<'_>) -> Result<Body, BackendError> {
        let id = range.checked_id()?;
        if self.met.load(Ordering::Relaxed) {
            return self.read_known(range, id).await;
        }
        // The first to come learns what the registry demands; a burst of
        // requests would be refused as one.
        let turn = self.first.lock().await;
        if self.met.load(Ordering::Relaxed) {
            drop(turn);
            return self.read_known(range, id).await;
        }
        let _met = Met(&self.met);
        self.read_known(range, id).await
    }

    async fn read_known(&self, range: BlobRange<'_>, id: &str) -> Result<Body, BackendError> {
        let rewrite = |url: &mut Url| self.rewrite(url);
        let (authorization, stamp) = self.auth.header().await?;
        let mut follow = Follow {
            client: &self.client,
            range,
            home: &self.base,
            authorization,
            rewrite: &rewrite,
        };
        if let Some(body) = follow.ask_known(&self.redirects, id).await {
            return body;
        }
        let mut own = self.base.clone();
        own.set_path(&format!("{}sha256:{id}", self.base.path()));
        let mut answer = follow.ask(own.clone()).await?;
        if self.is_demand(&answer) {
            let refusal = answer.0.into_refusal().await;
            self.auth.challenged(&refusal.headers, stamp).await?;
            (follow.authorization, _) = self.auth.header().await?;
            answer = follow.ask(own).await?;
        }
        follow.settle(&self.redirects, id, answer).await
    }

    /// Whether the registry itself, not where it leads, wants to know who asks.
    fn is_demand(&self, (answer, url): &(Answer, Url)) -> bool {
        answer.status().as_u16() == 401 && same_origin(url, &self.base)
    }

    fn rewrite(&self, url: &mut Url) {
        if let Some(host) = &self.host {
            // A scheme of its own has no fixed port; these URLs have hosts.
            let _ = url.set_host(host.host_str());
            let _ = url.set_port(host.port());
        }
        if let Some(scheme) = self.scheme {
            let _ = url.set_scheme(scheme.as_str());
        }
    }
}

impl Backend for Registry {
    fn open<'a>(&'a self, range: BlobRange<'a>) -> Opening<'a> {
        Box::pin(self.read(range))
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

/// Says, however it ends, that the first exchange is over.
struct Met<'a>(&'a AtomicBool);

impl Drop for Met<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The URL of a host with or without a port, and nothing else.
fn host_url(scheme: &str, host: &str) -> Option<Url> {
    if host.contains(['/', '@', '?', '#', '\\']) {
        return None;
    }
    let url = Url::parse(&format!("{scheme}://{host}/")).ok()?;
    url.has_host().then_some(url)
}
