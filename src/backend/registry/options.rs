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
    /// What is to be allowed besides what the registry's demands name:
    /// `pull,push` of this repository, `pull` of others.
    pub grants: Grants,
    /// How requests travel.
    pub transport: Transport,
}

/// What tokens are asked for, whatever the registry's demand names. A demand
/// names what one request needs; a push needs more, and one token for all of it
/// saves a dialogue each time.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Grants {
    /// Whether the repository is written to.
    pub push: bool,
    /// Repositories of the same registry that blobs are mounted from.
    pub mounts: Vec<String>,
}

impl Grants {
    /// Adds them to the scopes of a demand for `repo`.
    pub(super) fn widen(&self, repo: &str, scopes: &mut Vec<String>) {
        if !self.push {
            return;
        }
        let ours = |scope: &String| {
            let named = scope.strip_prefix("repository:");
            named.is_some_and(|rest| rest.rsplit_once(':').is_some_and(|(name, _)| name == repo))
        };
        scopes.retain(|scope| !ours(scope));
        scopes.push(format!("repository:{repo}:pull,push"));
        for from in self.mounts.iter().filter(|from| *from != repo) {
            let scope = format!("repository:{from}:pull");
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
    }
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
            grants: Grants::default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pushers_token_is_good_for_all_it_does() {
        let grants = Grants {
            push: true,
            mounts: vec!["lib/base".into(), "a/b".into()],
        };
        let mut scopes = vec!["repository:a/b:pull".into(), "registry:catalog:*".into()];
        grants.widen("a/b", &mut scopes);
        assert_eq!(
            scopes,
            [
                "registry:catalog:*",
                "repository:a/b:pull,push",
                "repository:lib/base:pull"
            ]
        );
        let mut scopes = vec!["repository:a/b:pull".to_owned()];
        Grants::default().widen("a/b", &mut scopes);
        assert_eq!(scopes, ["repository:a/b:pull"]);
    }
}
