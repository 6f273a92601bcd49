//! The keys of a registry.

use serde::Deserialize;

use super::network::{self, NETWORK_KEYS};
use super::{Shown, origin, scheme, show_host};
use crate::backend::registry::credentials::Credential;
use crate::backend::secret::Secret;
use crate::config::document::Tree;
use crate::config::error::ConfigError;
use crate::config::model::{BackendConfig, RegistryConfig, Scheme};
use crate::config::reader::{Reader, join, secret};

pub(super) fn registry(
    mut table: Tree,
    reader: &mut Reader,
    at: &str,
) -> Result<(BackendConfig, Shown), ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        scheme: Option<String>,
        host: String,
        repo: String,
        #[serde(default, deserialize_with = "secret")]
        auth: Option<Secret>,
        #[serde(default, deserialize_with = "secret")]
        registry_token: Option<Secret>,
        #[serde(default)]
        blob_url_scheme: String,
        #[serde(default)]
        blob_redirected_host: String,
    }
    let network = table.split(&NETWORK_KEYS);
    let keys: Keys = reader.read(&table, at)?;
    let key = |name| join(at, name);
    let written = keys.scheme.as_deref().unwrap_or("https");
    let scheme = scheme(reader, &key("scheme"), written)?;
    let scheme = scheme.unwrap_or_default();
    let base = origin(reader, &key("host"), scheme, &keys.host)?;
    // A scheme in the host is what counts.
    let scheme = match base.scheme() {
        "http" => Scheme::Http,
        _ => Scheme::Https,
    };
    let host = show_host(&base);
    let repo = keys.repo.trim_matches('/').to_owned();
    let is_repo = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if repo.is_empty() || !repo.chars().all(is_repo) || repo.split('/').any(|part| part == "..") {
        let reason = "is no repository, such as library/debian (without host and tag)";
        return Err(reader.wrong(&key("repo"), reason));
    }
    let credential = match (&keys.auth, keys.registry_token) {
        // As in nydusd the token goes before the password.
        (_, Some(token)) => Some(Credential::Bearer(token)),
        (Some(auth), None) => {
            let basic = Credential::from_auth(auth.reveal());
            let wrong = |_| reader.wrong(&key("auth"), "is not the base64 of user:password");
            Some(basic.map_err(wrong)?)
        }
        (None, None) => None,
    };
    let redirected = Some(keys.blob_redirected_host).filter(|host| !host.is_empty());
    if let Some(host) = &redirected {
        origin(reader, &key("blob_redirected_host"), Scheme::Https, host)?;
    }
    let blob_url_scheme = super::scheme(reader, &key("blob_url_scheme"), &keys.blob_url_scheme)?;
    let (network, mut shown) = network::parse(network, reader, at)?;
    shown.extend(Shown::from([
        ("scheme", scheme.as_str().into()),
        ("host", host.clone().into()),
        ("repo", repo.clone().into()),
        (
            "blob_url_scheme",
            blob_url_scheme.map_or("", Scheme::as_str).into(),
        ),
        (
            "blob_redirected_host",
            redirected.clone().unwrap_or_default().into(),
        ),
    ]));
    let registry = RegistryConfig {
        scheme,
        host,
        repo,
        credential,
        blob_url_scheme,
        blob_redirected_host: redirected,
        network,
    };
    Ok((BackendConfig::Registry(registry), shown))
}
