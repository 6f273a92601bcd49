//! Blobs behind a plain web server: `<addr><path>/<blob id>`.

use std::path::PathBuf;

use url::Url;

use super::{Client, Follow, Redirects, Transport};
use crate::backend::{Backend, BackendError, BlobRange, Body, Opening};

/// A web server that has blobs (nydusd's `http-proxy`).
#[derive(Clone, Debug)]
pub struct Options {
    /// `http://host:port`, `https://…`, or the absolute path of a Unix socket.
    pub addr: String,
    /// Folder of the blobs; may be empty.
    pub path: String,
    /// How requests travel.
    pub transport: Transport,
}

/// A web server that has blobs.
pub struct Http {
    name: String,
    base: Url,
    client: Client,
    redirects: Redirects,
}

impl Http {
    /// A backend over the server of `options`.
    ///
    /// # Errors
    /// When `addr` is neither an HTTP URL nor an absolute path, or the client
    /// cannot be set up.
    pub fn new(options: &Options) -> Result<Self, BackendError> {
        let mut transport = options.transport.clone();
        let mut base = if options.addr.starts_with('/') {
            transport.unix_socket = Some(PathBuf::from(&options.addr));
            Url::parse("http://localhost").ok()
        } else {
            Url::parse(&options.addr).ok()
        }
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| BackendError::Setup {
            source_name: "the HTTP source".into(),
            reason: "`addr` is neither http://…, https://… nor the absolute path of a socket"
                .into(),
        })?;
        let folder = [base.path(), options.path.as_str()].map(|part| part.trim_matches('/'));
        let folder: Vec<&str> = folder.into_iter().filter(|part| !part.is_empty()).collect();
        let path = folder
            .iter()
            .map(|part| format!("/{part}"))
            .collect::<String>()
            + "/";
        base.set_path(&path);
        let name = match &transport.unix_socket {
            Some(socket) => format!("{path} at {}", socket.display()),
            None => super::url::SafeUrl::from(&base).to_string(),
        };
        let client = Client::new(&name, &transport)?;
        Ok(Self {
            name,
            base,
            client,
            redirects: Redirects::default(),
        })
    }

    async fn ask(&self, range: BlobRange<'_>) -> Result<Body, BackendError> {
        let id = range.checked_id()?;
        let mut own = self.base.clone();
        own.set_path(&format!("{}{id}", self.base.path()));
        let follow = Follow {
            client: &self.client,
            range,
            home: &self.base,
            authorization: None,
            rewrite: &|_| {},
        };
        if let Some(body) = follow.ask_known(&self.redirects, id).await {
            return body;
        }
        let answer = follow.ask(own).await?;
        follow.settle(&self.redirects, id, answer).await
    }
}

impl Backend for Http {
    fn open<'a>(&'a self, range: BlobRange<'a>) -> Opening<'a> {
        Box::pin(self.ask(range))
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}
