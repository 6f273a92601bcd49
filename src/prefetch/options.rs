//! What is fetched ahead and what is written down.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What is downloaded in the background besides traces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    /// Nothing.
    Off,
    /// The list of files, or the image's prefetch table.
    #[default]
    Table,
    /// These first, then the whole image.
    All,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Table => "table",
            Self::All => "all",
        })
    }
}

/// A word that names no [`Scope`].
#[derive(Debug, thiserror::Error)]
#[error("Unknown prefetch scope {0:?}: use off, table or all")]
pub struct UnknownScope(pub String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        match text {
            "off" => Ok(Self::Off),
            "table" => Ok(Self::Table),
            "all" => Ok(Self::All),
            other => Err(UnknownScope(other.to_owned())),
        }
    }
}

/// Where a trace is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// In the cache directory, if there is one, by the image's root digest.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// In this file.
    File(PathBuf),
}

impl FromStr for Keep {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "off" => Self::Off,
            file => Self::File(file.into()),
        })
    }
}

/// Settings of one image's prefetch.
#[derive(Clone, Debug)]
pub struct PrefetchOptions {
    /// What is downloaded in the background.
    pub scope: Scope,
    /// Paths to fetch in place of the image's prefetch table: files, and
    /// directories with all below them.
    pub files: Option<Vec<Vec<u8>>>,
    /// Bytes per second for what is downloaded in the background, in their
    /// stored form. Traces are not held to it: their data is needed at once.
    pub bandwidth: Option<u64>,
    /// The recorded trace that is replayed. `Off` keeps a trace that is part of
    /// the image from being streamed, too.
    pub replay: Keep,
    /// The trace that is recorded.
    pub record: Keep,
    /// How long is recorded from the first read on.
    pub record_for: Duration,
    /// Chunks after which recording ends.
    pub record_chunks: usize,
    /// The host's cache directory; traces are in `tidegate/traces` below it.
    pub cache: Option<PathBuf>,
}

impl Default for PrefetchOptions {
    fn default() -> Self {
        Self {
            scope: Scope::Table,
            files: None,
            bandwidth: None,
            replay: Keep::Auto,
            record: Keep::Auto,
            record_for: Duration::from_secs(120),
            record_chunks: 1 << 16,
            cache: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_back_as_written() {
        for scope in [Scope::Off, Scope::Table, Scope::All] {
            assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
        }
        let text = "some".parse::<Scope>().unwrap_err().to_string();
        assert!(text.contains("some"), "{text}");
    }
}
