//! The keys that Tidegate adds at the top of every form, and `id_mapping`, which
//! nydusd has there.

use std::path::PathBuf;

use bytesize::ByteSize;
use serde::Deserialize;

use super::backends;
use super::document::Tree;
use super::error::ConfigError;
use super::model::Config;
use super::reader::Reader;
use crate::chunk::Digest;

/// These keys but for `sources`.
const KEYS: [&str; 6] = [
    "root",
    "bootstrap_digest",
    "require_root",
    "policy",
    "id_mapping",
    "cache_limit",
];

/// Takes Tidegate's keys out of a document and into `config`.
pub(super) fn parse(
    document: &mut Tree,
    reader: &mut Reader,
    config: &mut Config,
) -> Result<(), ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        root: Option<String>,
        bootstrap_digest: Option<String>,
        #[serde(default)]
        require_root: bool,
        policy: Option<PathBuf>,
        id_mapping: Option<Vec<u32>>,
        cache_limit: Option<Size>,
    }
    let sources = document.take_list("sources").unwrap_or_default();
    if document.has("sources") {
        return Err(reader.wrong("sources", "is not a list of sources"));
    }
    for (index, source) in sources.into_iter().enumerate() {
        let at = format!("sources[{index}]");
        config.sources.push(backends::source(source, reader, &at)?);
    }
    let keys: Keys = reader.read(&document.split(&KEYS), "")?;
    let digest = |key: &str, text: Option<String>| {
        let text = text.filter(|text| !text.is_empty());
        text.map(|text| {
            parse_digest(&text)
                .ok_or_else(|| reader.wrong(key, "is not sha256: and 64 hexadecimal digits"))
        })
        .transpose()
    };
    config.root = digest("root", keys.root)?;
    config.bootstrap_digest = digest("bootstrap_digest", keys.bootstrap_digest)?;
    config.require_root = keys.require_root;
    config.policy = keys.policy;
    config.id_mapping = match keys.id_mapping.as_deref() {
        None | Some([] | [_, _, 0]) => None,
        Some(&[internal, external, count])
            if internal.checked_add(count).is_some() && external.checked_add(count).is_some() =>
        {
            Some([internal, external, count])
        }
        Some(_) => {
            let reason = "is not an id of the image, the id to show, and how many, such as [0, 100000, 65536]";
            return Err(reader.wrong("id_mapping", reason));
        }
    };
    config.cache.limit = match keys.cache_limit {
        None => None,
        Some(Size::Bytes(bytes)) => Some(bytes),
        Some(Size::Text(text)) => {
            let size = text.parse::<ByteSize>();
            let size =
                size.map_err(|_| reader.wrong("cache_limit", "is no size, such as 20GiB"))?;
            Some(size.as_u64())
        }
    };
    Ok(())
}

/// A size in bytes, or as people write it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "is no size, such as 20GiB")]
enum Size {
    Bytes(u64),
    Text(String),
}

/// A digest as Tidegate prints it.
pub(super) fn parse_digest(text: &str) -> Option<Digest> {
    text.strip_prefix("sha256:").and_then(Digest::parse)
}
