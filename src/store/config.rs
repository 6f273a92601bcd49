//! How a store is set up.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// When bytes are proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verify {
    /// When they are fetched and every time they leave the cache.
    #[default]
    Always,
    /// When they are fetched; the cache is believed. For measuring.
    Fetch,
    /// Never; only lengths are checked. For measuring.
    Off,
}

impl fmt::Display for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Always => "always",
            Self::Fetch => "fetch",
            Self::Off => "off",
        })
    }
}

/// A word that names no [`Verify`].
#[derive(Debug, thiserror::Error)]
#[error("Unknown verify mode {0:?}: use always, fetch or off")]
pub struct UnknownVerify(pub String);

impl FromStr for Verify {
    type Err = UnknownVerify;

    fn from_str(text: &str) -> Result<Self, UnknownVerify> {
        match text {
            "always" => Ok(Self::Always),
            "fetch" => Ok(Self::Fetch),
            "off" => Ok(Self::Off),
            other => Err(UnknownVerify(other.to_owned())),
        }
    }
}

/// Settings of a store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Directory whose subdirectory `tidegate` keeps chunks across restarts
    /// and between processes. Without one, chunks live in a private unnamed
    /// file that goes with the process.
    pub cache: Option<PathBuf>,
    /// Most bytes that the cache directory may take on the disk, whoever shares
    /// it. Without one it grows.
    pub cache_limit: Option<u64>,
    /// How long a cache that could not be opened or written is left alone.
    pub cache_retry: Duration,
    /// When bytes are proved.
    pub verify: Verify,
    /// Whether chunks of which the image gives no digest are served.
    pub allow_unverified: bool,
    /// How long the read of one chunk may take before it fails.
    pub deadline: Duration,
    /// Most bytes of tags held in memory: 16 per 4 KiB of data, and some per
    /// chunk.
    pub tag_budget: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            cache: None,
            cache_limit: None,
            cache_retry: Duration::from_secs(5),
            verify: Verify::Always,
            allow_unverified: false,
            deadline: Duration::from_secs(30),
            tag_budget: 64 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_modes_are_read_back_as_written() {
        for mode in [Verify::Always, Verify::Fetch, Verify::Off] {
            assert_eq!(mode.to_string().parse::<Verify>().unwrap(), mode);
        }
        let text = "never".parse::<Verify>().unwrap_err().to_string();
        assert!(text.contains("never"), "{text}");
    }
}
