//! Where a mount is.

use std::fmt;
use std::str::FromStr;

use crate::image::model::NAME_MAX;

/// Most bytes of a path.
const PATH_MAX: usize = 4096;

/// Most names in a path.
const DEPTH_MAX: usize = 64;

/// An absolute path in the tree, without empty names: `/`, `/rafs/1/lowerdir`.
/// In their order a directory comes before what is below it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MountPath(Vec<Box<str>>);

/// Text that is no [`MountPath`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("Mountpoint {path:?} cannot be used: {reason}")]
pub struct BadPath {
    path: String,
    reason: &'static str,
}

impl MountPath {
    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last name; none for the root.
    pub(super) fn name(&self) -> Option<&str> {
        self.0.last().map(AsRef::as_ref)
    }

    /// The directory above; none for the root.
    pub(super) fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }
}

impl FromStr for MountPath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        let bad = |reason| BadPath {
            path: text.chars().take(PATH_MAX).collect(),
            reason,
        };
        if !text.starts_with('/') {
            return Err(bad("it does not begin with /"));
        }
        if text.len() > PATH_MAX {
            return Err(bad("it has more than 4096 bytes"));
        }
        let names: Vec<_> = text.split('/').filter(|name| !name.is_empty()).collect();
        if names.len() > DEPTH_MAX {
            return Err(bad("it has more than 64 names"));
        }
        for name in &names {
            if name.len() > NAME_MAX {
                return Err(bad("a name in it has more than 255 bytes"));
            }
            if matches!(*name, "." | "..") || name.contains('\0') {
                return Err(bad("it has a name that is ., .. or holds NUL"));
            }
        }
        Ok(Self(names.into_iter().map(Into::into).collect()))
    }
}

impl fmt::Display for MountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised() {
        for (text, shown) in [
            ("/", "/"),
            ("///", "/"),
            ("/rafs//1/lowerdir/", "/rafs/1/lowerdir"),
            ("/a b/ü", "/a b/ü"),
        ] {
            assert_eq!(text.parse::<MountPath>().unwrap().to_string(), shown);
        }
        let path: MountPath = "/a/b".parse().unwrap();
        assert_eq!(path.name(), Some("b"));
        assert_eq!(path.parent().unwrap().to_string(), "/a");
        assert!(path.parent().unwrap() < path);
    }

    #[test]
    fn what_names_no_place_is_refused() {
        let long = format!("/{}", "x".repeat(256));
        let deep = "/a".repeat(65);
        for text in ["", "a", "a/b", "/..", "/a/./b", "/a\0", &long, &deep] {
            assert!(text.parse::<MountPath>().is_err(), "{text:?}");
        }
    }
}
