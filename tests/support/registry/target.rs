//! What a path names.

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `/v2/`.
    Ping,
    /// A blob; with a repository where the path is a registry's.
    Blob {
        repository: Option<String>,
        id: String,
    },
    Manifest {
        repository: String,
        name: String,
    },
    /// A signed link to a blob.
    Link(String),
    Token,
    /// The endpoints of [`super::control`].
    Control,
    Unknown,
}

impl Target {
    pub(super) fn parse(path: &str) -> Self {
        let (before, last) = path.rsplit_once('/').unwrap_or(("", path));
        let id = last.strip_prefix("sha256:").unwrap_or(last);
        match path {
            "/token" => return Self::Token,
            "/v2" | "/v2/" => return Self::Ping,
            _ if path.starts_with("/_") => return Self::Control,
            _ => {}
        }
        if let Some(rest) = before.strip_prefix("/v2/") {
            let own = |text: &str| text.to_owned();
            return match (rest.strip_suffix("/blobs"), rest.strip_suffix("/manifests")) {
                (Some(repository), _) if is_id(id) => Self::Blob {
                    repository: Some(own(repository)),
                    id: own(id),
                },
                (_, Some(repository)) if is_name(last) => Self::Manifest {
                    repository: own(repository),
                    name: own(last),
                },
                _ => Self::Unknown,
            };
        }
        match (before, is_id(id)) {
            (_, false) => Self::Unknown,
            ("/link", true) => Self::Link(id.to_owned()),
            (_, true) => Self::Blob {
                repository: None,
                id: id.to_owned(),
            },
        }
    }

    /// `kind` of a log entry.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Blob { .. } | Self::Link(_) => "blob",
            Self::Manifest { .. } => "manifest",
            Self::Token => "token",
            Self::Ping | Self::Control | Self::Unknown => "other",
        }
    }

    pub(super) fn blob(&self) -> Option<&str> {
        match self {
            Self::Blob { id, .. } | Self::Link(id) => Some(id),
            _ => None,
        }
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// No way out of the directory.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('.')
}
