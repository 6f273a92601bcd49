//! The keys of sources, which all forms share.

mod bucket;
mod local;
mod network;
mod registry;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use url::Url;

use self::bucket::Service;
use super::document::Tree;
use super::error::ConfigError;
use super::model::{Scheme, SourceConfig};
use super::reader::{Reader, join};

/// Names of types, and thereby of the tables that hold their keys.
const KINDS: [&str; 6] = [
    "localfs",
    "registry",
    "oss",
    "s3",
    "http-proxy",
    "localdisk",
];

/// Reads a source: `type` and either `config` or a table named by the type.
pub(super) fn source(
    mut tree: Tree,
    reader: &mut Reader,
    at: &str,
) -> Result<SourceConfig, ConfigError> {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    let tables = KINDS.map(|kind| (kind, tree.take(kind)));
    let config = tree.take("config");
    let Kind { r#type } = reader.read(&tree, at)?;
    let Some((kind, table)) = tables.into_iter().find(|(kind, _)| *kind == r#type) else {
        let known = KINDS.join(", ");
        let reason = format!("{:?} is none of {known}", r#type);
        return Err(reader.wrong(&join(at, "type"), reason));
    };
    if kind == "localdisk" {
        let reason = "localdisk is not supported; put the blobs into a directory and use localfs";
        return Err(reader.wrong(&join(at, "type"), reason));
    }
    let (name, table) = match (table, config) {
        (Some(table), None) => (kind, table),
        (None, Some(config)) => ("config", config),
        (Some(_), Some(_)) => {
            let reason = format!("both {kind} and config are there; remove one");
            return Err(reader.wrong(at, reason));
        }
        (None, None) => return Err(reader.wrong(&join(at, kind), "is missing")),
    };
    let key = join(at, name);
    let (backend, shown) = match kind {
        "localfs" => local::files(table, reader, &key)?,
        "registry" => registry::registry(table, reader, &key)?,
        "oss" => bucket::bucket(table, reader, &key, Service::Oss)?,
        "s3" => bucket::bucket(table, reader, &key, Service::S3)?,
        _ => local::http(table, reader, &key)?,
    };
    Ok(SourceConfig {
        key,
        kind,
        backend,
        shown: serde_json::to_value(shown).unwrap_or_default(),
    })
}

/// What the API shows of a source; secrets have no place in it.
type Shown = BTreeMap<&'static str, serde_json::Value>;

fn show_path(path: &Path) -> serde_json::Value {
    path.to_string_lossy().into()
}

/// Host and port, if it is not the scheme's.
pub(in crate::config) fn show_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// A scheme; none for the empty text.
fn scheme(reader: &Reader, key: &str, text: &str) -> Result<Option<Scheme>, ConfigError> {
    match text {
        "" => Ok(None),
        "http" => Ok(Some(Scheme::Http)),
        "https" => Ok(Some(Scheme::Https)),
        _ => Err(reader.wrong(key, "is neither http nor https")),
    }
}

/// Host and port, to which `scheme` belongs unless it has one of its own.
fn origin(reader: &Reader, key: &str, scheme: Scheme, host: &str) -> Result<Url, ConfigError> {
    let url = if host.contains("://") {
        reader.url(key, host)?
    } else {
        reader.url(key, &format!("{}://{host}", scheme.as_str()))?
    };
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none();
    if !is_bare
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(reader.wrong(key, "is more than a host and a port"));
    }
    Ok(url)
}
