//! How a passed-through directory behaves.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::fs::operation::Opened;

/// What a guest may keep, in virtiofsd's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Cache {
    /// Nothing.
    Never,
    /// Names and attributes for a second, data as long as the file seems
    /// unchanged when it is opened.
    #[default]
    Auto,
    /// Names and attributes for a day, no data.
    Metadata,
    /// Everything for a day: for directories that nobody else changes.
    Always,
}

/// A mode of caching that does not exist.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no mode of caching (never, auto, metadata, always)")]
pub struct UnknownCache(String);

impl FromStr for Cache {
    type Err = UnknownCache;

    fn from_str(text: &str) -> Result<Self, UnknownCache> {
        match text {
            "never" => Ok(Self::Never),
            "auto" => Ok(Self::Auto),
            "metadata" => Ok(Self::Metadata),
            "always" => Ok(Self::Always),
            other => Err(UnknownCache(other.to_owned())),
        }
    }
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::Auto => "auto",
            Self::Metadata => "metadata",
            Self::Always => "always",
        })
    }
}

impl Cache {
    /// How long names and attributes stay valid.
    pub(super) fn timeout(self) -> Duration {
        match self {
            Self::Never => Duration::ZERO,
            Self::Auto => Duration::from_secs(1),
            Self::Metadata | Self::Always => Duration::from_secs(86_400),
        }
    }

    /// How a file is opened as `handle`.
    pub(super) fn file(self, handle: u64) -> Opened {
        Opened {
            handle,
            keep_cache: self == Self::Always,
            direct: matches!(self, Self::Never | Self::Metadata),
            cache_listing: false,
        }
    }

    /// How a directory is opened as `handle`.
    pub(super) fn directory(self, handle: u64) -> Opened {
        let cached = matches!(self, Self::Always | Self::Metadata);
        Opened {
            handle,
            keep_cache: cached,
            direct: false,
            cache_listing: cached,
        }
    }
}

/// How a passed-through directory behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the guest may keep.
    pub cache: Cache,
    /// Whether extended attributes are passed through; else there are none.
    pub xattr: bool,
    /// Whether access control lists are, and are obeyed by the guest.
    pub posix_acl: bool,
    /// Whether the guest is told where other file systems are mounted, so that it
    /// shows them as such.
    pub announce_submounts: bool,
    /// Whether files without names may be made (`O_TMPFILE`). Linux 6.12 keeps such
    /// a file under the name `/` even when it has got one, and asks for that name
    /// when another file is renamed to its place; overlayfs, which copies files up
    /// this way, then fails with ESTALE. Without it overlayfs goes another way.
    pub nameless: bool,
    /// Whether nothing may be changed.
    pub read_only: bool,
    /// Whether directories are listed without attributes.
    pub plain_listings: bool,
    /// Whether the guest gathers what it writes; for directories that nobody else
    /// changes.
    pub writeback: bool,
    /// Whether files may be mapped by several programs of the guest although it keeps
    /// none of their data; for directories that nobody else changes.
    pub shared_maps: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache: Cache::default(),
            xattr: true,
            posix_acl: false,
            announce_submounts: true,
            nameless: false,
            read_only: false,
            plain_listings: false,
            writeback: false,
            shared_maps: false,
        }
    }
}
