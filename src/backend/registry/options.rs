//! Where a repository is and how it is asked.

use super::credentials::Credentials;
use crate::backend::http::Transport;

/// A repository of a registry.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the registry is spoken to.
    pub scheme: Scheme,
    /// Host, with a port if it is not the scheme's: `ghcr.io`, `localhost:5000`.
    pub host: String,
    /// Repository, such as `library/python`.
    pub repo: String,
    /// Who asks. Shared: replacing them takes effect with the next request.
    pub credentials: Credentials,
    /// Scheme to use in place of that of redirects.
    pub blob_url_scheme: Option<Scheme>,
    /// Host (and port) to use in place of that of redirects.
    pub blob_redirected_host: Option<String>,
    /// How requests travel.
    pub transport: Transport,
}

impl Options {
    /// An anonymous reader of a repository, with the default settings.
    pub fn new(host: impl Into<String>, repo: impl Into<String>) -> Self {
        Self {
            scheme: Scheme::Https,
            host: host.into(),
            repo: repo.into(),
            credentials: Credentials::anonymous(),
            blob_url_scheme: None,
            blob_redirected_host: None,
            transport: Transport::default(),
        }
    }
}

/// With or without TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scheme {
    /// With TLS.
    #[default]
    Https,
    /// In the clear: credentials can be read on the way.
    Http,
}

impl Scheme {
    /// As a URL begins.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// A word that names no [`Scheme`].
#[derive(Debug, thiserror::Error)]
#[error("Unknown scheme {0:?}: use https or http")]
pub struct UnknownScheme(pub String);

impl std::str::FromStr for Scheme {
    type Err = UnknownScheme;

    fn from_str(text: &str) -> Result<Self, UnknownScheme> {
        match text {
            "https" => Ok(Self::Https),
            "http" => Ok(Self::Http),
            other => Err(UnknownScheme(other.to_owned())),
        }
    }
}
