//! Parts of a tree become types; what does not fit is named by its path.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_ignored::Path;
use serde_json::Value;
use url::Url;

use super::document::Tree;
use super::error::ConfigError;
use crate::backend::secret::Secret;

/// Reads parts of one configuration and collects what nobody knows.
pub(super) struct Reader {
    form: String,
    unknown: Vec<String>,
}

impl Reader {
    /// A reader of what is called `form` in errors.
    pub(super) fn new(form: impl Into<String>) -> Self {
        Self {
            form: form.into(),
            unknown: Vec::new(),
        }
    }

    /// Reads a table that stands at the path `at` (empty at the top).
    pub(super) fn read<T: DeserializeOwned>(
        &mut self,
        tree: &Tree,
        at: &str,
    ) -> Result<T, ConfigError> {
        // A list would be taken for the values of the keys in order.
        if !tree.value().is_object() {
            return Err(self.wrong(at, "is not a table of keys"));
        }
        let mut unknown = Vec::new();
        let mut note = |path: Path<'_>| unknown.push(join(at, &show(&path)));
        let deserializer = serde_ignored::Deserializer::new(tree.value(), &mut note);
        let read = serde_path_to_error::deserialize(deserializer);
        self.unknown.append(&mut unknown);
        read.map_err(|error| {
            let path = match error.path().to_string() {
                path if path == "." => String::new(),
                path => path,
            };
            let reason = without_text(&error.inner().to_string());
            match missing(&reason) {
                Some(name) => self.wrong(&join(&join(at, &path), name), "is missing"),
                None => self.wrong(&join(at, &path), reason),
            }
        })
    }

    /// An error about a key.
    pub(super) fn wrong(&self, key: &str, reason: impl Into<String>) -> ConfigError {
        ConfigError::Key {
            key: key.to_owned(),
            reason: reason.into(),
            form: self.form.clone(),
        }
    }

    /// The paths of all keys that nobody knows.
    pub(super) fn take_unknown(&mut self) -> Vec<String> {
        std::mem::take(&mut self.unknown)
    }

    /// A URL of HTTP. Errors do not repeat it, since it may hold a password.
    pub(super) fn url(&self, key: &str, text: &str) -> Result<Url, ConfigError> {
        let url =
            Url::parse(text).map_err(|error| self.wrong(key, format!("is no URL: {error}")))?;
        match url.scheme() {
            "http" | "https" if url.has_host() => Ok(url),
            _ => Err(self.wrong(key, "is no URL that starts with http:// or https://")),
        }
    }
}

/// Joins two parts of a path.
pub(super) fn join(left: &str, right: &str) -> String {
    match (left, right) {
        ("", right) => right.to_owned(),
        (left, "") => left.to_owned(),
        (left, right) if right.starts_with('[') => format!("{left}{right}"),
        (left, right) => format!("{left}.{right}"),
    }
}

fn show(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => join(&show(parent), &format!("[{index}]")),
        Path::Map { parent, key } => join(&show(parent), key),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => show(parent),
    }
}

/// Without the text in serde's "invalid type: string "text", expected …": it
/// may be a secret in the wrong place.
fn without_text(reason: &str) -> String {
    let Some(rest) = reason.strip_prefix("invalid type: string ") else {
        return reason.to_owned();
    };
    let expected = rest.rfind("\", expected ").map_or("", |at| &rest[at + 1..]);
    format!("has text{expected}")
}

/// The name in serde's "missing field `name`".
fn missing(reason: &str) -> Option<&str> {
    reason.strip_prefix("missing field `")?.strip_suffix('`')
}

/// Reads a secret. Unlike serde's, the error does not repeat the value.
pub(super) fn secret<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => Ok(Some(Secret::from(text))),
        Value::Null => Ok(None),
        _ => Err(serde::de::Error::custom("must be text")),
    }
}

/// Reads text that may hold a secret, such as a URL with a password.
pub(super) fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    secret(deserializer).map(Option::unwrap_or_default)
}
