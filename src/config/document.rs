//! From text to a tree of keys, and which form it has.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use super::error::ConfigError;

/// Which keys a configuration may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// nydusd's first form, which starts with `device`. JSON.
    V1,
    /// nydusd's second form, `"version": 2`, as JSON.
    V2Json,
    /// nydusd's second form, `version = 2`, as TOML.
    V2Toml,
    /// Tidegate's own few keys, as JSON.
    OwnJson,
    /// Tidegate's own few keys, as TOML.
    OwnToml,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "nydusd's JSON v1",
            Self::V2Json => "nydusd's JSON v2",
            Self::V2Toml => "nydusd's TOML v2",
            Self::OwnJson => "Tidegate's own JSON",
            Self::OwnToml => "Tidegate's own TOML",
        })
    }
}

/// A part of a configuration. All its text is wiped when it is dropped: who
/// knows which of it is secret.
pub(super) struct Tree(Value);

impl Tree {
    /// For deserializing from.
    pub(super) fn value(&self) -> &Value {
        &self.0
    }

    /// Whether there is such a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some()
    }

    /// Takes a key out of a table.
    pub(super) fn take(&mut self, key: &str) -> Option<Self> {
        let taken = self.0.as_object_mut()?.remove(key)?;
        (!taken.is_null()).then_some(Self(taken))
    }

    /// Takes a key that has a list, as its items; anything else stays.
    pub(super) fn take_list(&mut self, key: &str) -> Option<Vec<Self>> {
        match self.0.get_mut(key)? {
            Value::Array(items) => {
                let items = std::mem::take(items);
                self.take(key);
                Some(items.into_iter().map(Self).collect())
            }
            _ => None,
        }
    }

    /// Takes those of `keys` that are there into a table of their own.
    pub(super) fn split(&mut self, keys: &[&str]) -> Self {
        let mut taken = Map::new();
        if let Some(table) = self.0.as_object_mut() {
            for key in keys {
                taken.extend(table.remove_entry(*key));
            }
        }
        Self(Value::Object(taken))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(table) => table.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// As `serde_json::Value`, but a key that comes twice is an error: of two roots
/// none may win silently.
impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Tree, E> {
        Ok(Tree(text.into()))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(mut item) = list.next_element::<Tree>()? {
            items.push(item.0.take());
        }
        Ok(Tree(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Tree, A::Error> {
        let mut keys = Map::new();
        while let Some(key) = table.next_key::<String>()? {
            if keys.contains_key(&key) {
                return Err(A::Error::custom(format!("key {key} is there twice")));
            }
            keys.insert(key, table.next_value::<Tree>()?.0.take());
        }
        Ok(Tree(Value::Object(keys)))
    }
}

/// Keys that only nydusd's second form has.
const V2_KEYS: [&str; 4] = ["backend", "rafs", "overlay", "external_backends"];

/// Parses `text`, which is JSON if it starts with a brace and TOML otherwise,
/// and tells its form by the keys that it has.
pub(super) fn parse(text: &str) -> Result<(Form, Tree), ConfigError> {
    let is_json = text.trim_start().starts_with('{');
    let tree = if is_json { json(text)? } else { toml(text)? };
    let form = match (tree.value().get("version"), is_json) {
        (Some(version), _) if version.as_u64() != Some(2) => {
            return Err(ConfigError::UnknownForm(format!(
                "key version has the value {version}, and only 2 is known"
            )));
        }
        (Some(_), true) => Form::V2Json,
        (Some(_), false) => Form::V2Toml,
        (None, true) if tree.has("device") => Form::V1,
        (None, _) => {
            let of_v2 = V2_KEYS.iter().find(|key| tree.has(key));
            let of_v2 = of_v2.or(tree.value()["cache"].is_object().then_some(&"cache"));
            if let Some(key) = of_v2 {
                return Err(ConfigError::UnknownForm(format!(
                    "it has the key {key} of nydusd's v2, which needs version = 2 as well"
                )));
            }
            if tree.has("device") {
                return Err(ConfigError::UnknownForm(
                    "it has the key device of nydusd's v1, which must be JSON".to_owned(),
                ));
            }
            if is_json {
                Form::OwnJson
            } else {
                Form::OwnToml
            }
        }
    };
    Ok((form, tree))
}

pub(super) fn json(text: &str) -> Result<Tree, ConfigError> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        // Its place is in fields of its own.
        let reason = error.to_string();
        let place = format!(" at line {line} column {column}");
        let reason = reason.strip_suffix(&place).unwrap_or(&reason).to_owned();
        ConfigError::Syntax {
            language: "JSON",
            line,
            column,
            reason,
        }
    })
}

fn toml(text: &str) -> Result<Tree, ConfigError> {
    toml::from_str(text).map_err(|error| {
        // Its own text repeats the line, which may hold a secret.
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |line| line.chars().count())
            + 1;
        ConfigError::Syntax {
            language: "TOML",
            line,
            column,
            reason: error.message().to_owned(),
        }
    })
}
