//! What a user calls an image: a name at a registry, an OCI layout, an archive
//! of docker.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::archive::Archive;
use super::layout::Layout;
use super::manifest::parse_digest;
use crate::chunk::Digest;

/// Docker's registry, as names have it.
const DOCKER: &str = "docker.io";

/// Where docker's registry answers.
const DOCKER_HOST: &str = "registry-1.docker.io";

/// Longest name of a repository with its registry, as registries have it.
const NAME_MAX: usize = 255;

/// Longest tag.
const TAG_MAX: usize = 128;

/// Where an image is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A repository of a registry.
    Registry(Name),
    /// `oci:DIR[:TAG]` or `oci:DIR@DIGEST`: an OCI layout.
    Layout {
        /// Its directory.
        dir: PathBuf,
        /// Which image of it: a tag or a digest.
        name: Option<String>,
    },
    /// `docker-archive:FILE[:REFERENCE]`: what `docker save` writes.
    Archive {
        /// The file.
        file: PathBuf,
        /// Which image of it.
        name: Option<String>,
    },
}

/// Which manifest of a repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// What a tag leads to now.
    Tag(String),
    /// That one and no other.
    Digest(Digest),
}

/// A name at a registry: `registry.example:5000/team/app:1.2`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// The registry, with a port if there is one.
    pub registry: String,
    /// The repository.
    pub repository: String,
    /// Which manifest; a digest goes before a tag that stands beside it.
    pub which: Which,
}

/// Text that names no image.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} names no image: {reason}")]
pub struct BadReference {
    text: String,
    reason: &'static str,
}

impl FromStr for Place {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        let bad = |reason| BadReference {
            text: text.chars().take(300).collect(),
            reason,
        };
        let empty = |name: &Option<String>| name.as_ref().is_some_and(String::is_empty);
        if let Some(rest) = text.strip_prefix("oci:") {
            let (dir, name) = Layout::split(rest);
            if dir.as_os_str().is_empty() || empty(&name) {
                return Err(bad("oci: takes DIR, DIR:TAG or DIR@DIGEST"));
            }
            return Ok(Self::Layout { dir, name });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (file, name) = Archive::split(rest);
            if file.as_os_str().is_empty() || empty(&name) {
                return Err(bad("docker-archive: takes FILE or FILE:REFERENCE"));
            }
            return Ok(Self::Archive { file, name });
        }
        let name = text.strip_prefix("docker://").unwrap_or(text);
        Name::parse(name).map(Self::Registry).map_err(bad)
    }
}

impl Name {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, rest.to_owned())
            }
            Some(_) => (DOCKER, name.to_owned()),
            None => (DOCKER, format!("library/{name}")),
        };
        let registry = match registry {
            "index.docker.io" => DOCKER,
            registry => registry,
        };
        let repository = match repository.contains('/') || registry != DOCKER {
            true => repository,
            false => format!("library/{repository}"),
        };
        if !is_host(registry) {
            return Err("its registry is no host name with or without a port");
        }
        if !is_repository(&repository) || registry.len() + repository.len() >= NAME_MAX {
            return Err(
                "a repository has lower-case letters and digits, with `.`, `_`, `-` between, in parts with `/` between",
            );
        }
        let which = match (tag, digest) {
            (_, Some(digest)) => Which::Digest(
                parse_digest(digest).ok_or("its digest is not of the form sha256:HEX")?,
            ),
            (Some(tag), None) => Which::Tag(checked_tag(tag)?.to_owned()),
            (None, None) => Which::Tag("latest".to_owned()),
        };
        if let Some(tag) = tag {
            checked_tag(tag)?;
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            which,
        })
    }

    /// The host, with a port if there is one, that answers for the registry.
    pub fn host(&self) -> &str {
        match &*self.registry {
            DOCKER => DOCKER_HOST,
            registry => registry,
        }
    }

    /// Registry and repository, as a name begins.
    pub fn place(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

/// Whether a tag can be told to a registry.
///
/// # Errors
/// What is wrong with it.
pub fn checked_tag(tag: &str) -> Result<&str, &'static str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let good = tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || b".-".contains(&byte));
    good.then_some(tag)
        .ok_or("a tag has up to 128 letters, digits, `_`, `.`, `-`")
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match rest.strip_prefix(':') {
                Some(port) => (None, Some(port)),
                None if rest.is_empty() => (None, None),
                None => return false,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let label = |label: &str| {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !label.is_empty() && label.bytes().all(word)
    };
    host.is_none_or(|host| host.split('.').all(label))
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// As the distribution specification has it: words of `[a-z0-9]+`, with `.`,
/// `_`, `__` or dashes between, in parts with `/` between.
fn is_repository(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.split('/').all(|part| {
        let bytes = part.as_bytes();
        let ends =
            bytes.first().is_some_and(|b| word(*b)) && bytes.last().is_some_and(|b| word(*b));
        let gaps = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let gap = |gap: &str| {
            matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|byte| byte == b'-')
        };
        ends && gaps.into_iter().all(gap)
    })
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "sha256:{digest}"),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joint = match self.which {
            Which::Tag(_) => ':',
            Which::Digest(_) => '@',
        };
        write!(f, "{}{joint}{}", self.place(), self.which)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(name) => name.fmt(f),
            Self::Layout { dir, name } => {
                write!(f, "oci:{}", dir.display())?;
                match name {
                    Some(name) if parse_digest(name).is_some() => write!(f, "@{name}"),
                    Some(name) => write!(f, ":{name}"),
                    None => Ok(()),
                }
            }
            Self::Archive { file, name } => {
                write!(f, "docker-archive:{}", file.display())?;
                match name {
                    Some(name) => write!(f, ":{name}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn shown(text: &str) -> String {
        text.parse::<Place>().unwrap().to_string()
    }

    #[test]
    fn names_are_read_as_docker_reads_them() {
        for (text, long) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("docker.io/debian", "docker.io/library/debian:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("team/app:1", "docker.io/team/app:1"),
            ("localhost/app", "localhost/app:latest"),
            (
                "localhost:5000/a/b/c:v-1.0_x",
                "localhost:5000/a/b/c:v-1.0_x",
            ),
            ("docker://r.example/app", "r.example/app:latest"),
            ("[::1]:5000/app:1", "[::1]:5000/app:1"),
        ] {
            assert_eq!(shown(text), long, "{text}");
        }
        assert_eq!(
            shown(&format!("r.example/app:1@{DIGEST}")),
            format!("r.example/app@{DIGEST}")
        );
        let Place::Registry(name) = "debian".parse().unwrap() else {
            panic!("a name");
        };
        assert_eq!(name.host(), "registry-1.docker.io");
    }

    #[test]
    fn layouts_and_archives_are_told_apart() {
        for text in [
            "oci:/no/dir",
            "oci:no/dir:1.0",
            &format!("oci:dir@{DIGEST}"),
            "docker-archive:/no/x.tar:a:1",
        ] {
            assert_eq!(shown(text), text);
        }
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a:b");
        std::fs::create_dir(&odd).unwrap();
        let place: Place = format!("oci:{}:v1", odd.display()).parse().unwrap();
        let name = Some("v1".to_owned());
        assert_eq!(place, Place::Layout { dir: odd, name });
        assert_eq!(
            shown("docker-archive:/x.tar:a:1"),
            "docker-archive:/x.tar:a:1"
        );
        assert_eq!(shown("docker-archive:/x.tar"), "docker-archive:/x.tar");
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in [
            "",
            "oci:",
            "oci:dir:",
            "docker-archive:",
            "docker-archive:x:",
            "App",
            "a//b",
            "a/../b",
            "a/b:",
            "a:-x",
            "a@sha256:12",
            "a b",
            "user:pw@host/app",
            "h.example:99999/app",
            "h.example/a_-b",
            "a/b?x=y",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
