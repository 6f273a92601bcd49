//! The file of digests that an operator allows.

use std::path::Path;

use serde::Deserialize;

use super::document;
use super::error::ConfigError;
use super::extra::parse_digest;
use super::reader::Reader;
use crate::chunk::Digest;

/// What may be served on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Root digests that are allowed.
    pub roots: Vec<Digest>,
    /// SHA-256 of bootstrap files that are allowed.
    pub bootstrap_digests: Vec<Digest>,
    /// Refuse everything else. The default: a list that refuses nothing is
    /// written by mistake.
    pub require: bool,
    /// Serve images of whose data nobody gives digests (tarfs), if it is the host's
    /// policy.
    pub allow_unverified: bool,
}

impl Policy {
    /// Reads the policy in the file at `path`: JSON with `roots`,
    /// `bootstrap_digests`, `require` and `allow_unverified`.
    ///
    /// # Errors
    /// When the file cannot be read, a digest is none, or a key is not known:
    /// a policy must not be half understood.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let in_file = |source| ConfigError::InFile {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let text = super::read(path).map_err(in_file)?;
        parse(&text).map_err(in_file)
    }
}

fn parse(text: &str) -> Result<Policy, ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(default)]
        roots: Vec<String>,
        #[serde(default)]
        bootstrap_digests: Vec<String>,
        require: Option<bool>,
        #[serde(default)]
        allow_unverified: bool,
    }
    let tree = document::json(text)?;
    let mut reader = Reader::new("a policy");
    let keys: Keys = reader.read(&tree, "")?;
    if let Some(key) = reader.take_unknown().first() {
        return Err(reader.wrong(key, "is not known"));
    }
    let digests = |name: &str, list: Vec<String>| {
        let list = list.iter().enumerate().map(|(index, text)| {
            let key = format!("{name}[{index}]");
            let reason = "is not sha256: and 64 hexadecimal digits";
            parse_digest(text).ok_or_else(|| reader.wrong(&key, reason))
        });
        list.collect::<Result<Vec<_>, _>>()
    };
    Ok(Policy {
        roots: digests("roots", keys.roots)?,
        bootstrap_digests: digests("bootstrap_digests", keys.bootstrap_digests)?,
        require: keys.require.unwrap_or(true),
        allow_unverified: keys.allow_unverified,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_lists_digests_and_refuses_everything_else_by_default() {
        let root = format!("sha256:{}", "5a".repeat(32));
        let policy = parse(&format!("{{\"roots\": [\"{root}\"]}}")).unwrap();
        assert_eq!(policy.roots, [parse_digest(&root).unwrap()]);
        assert!(policy.bootstrap_digests.is_empty());
        assert!(policy.require);
        assert!(!policy.allow_unverified);
        assert!(!parse("{\"require\": false}").unwrap().require);
        let loose = parse("{\"require\": false, \"allow_unverified\": true}").unwrap();
        assert!(loose.allow_unverified);
    }

    #[test]
    fn a_policy_that_is_not_understood_is_refused_with_the_place() {
        for (text, place) in [
            ("{\"roots\": [\"sha256:12\"]}", "roots[0]"),
            ("{\"root\": []}", "root"),
            ("{\"roots\": \"all\"}", "roots"),
            ("{\"require\": false, \"require\": true}", "line 1"),
            ("[]", "table"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(place), "{text}: {error}");
        }
    }
}
