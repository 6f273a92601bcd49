//! What can be wrong with a bootstrap.

use std::path::PathBuf;

use crate::chunk::Digest;

/// Why an image or a part of it cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The bootstrap cannot be opened.
    #[error("Cannot open bootstrap {}", path.display())]
    Open {
        /// The bootstrap.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A range of the bootstrap cannot be read.
    #[error("Cannot read {len} bytes at offset {offset} of bootstrap {}", path.display())]
    Read {
        /// The bootstrap.
        path: PathBuf,
        /// Offset in bytes.
        offset: u64,
        /// Length in bytes.
        len: usize,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The bootstrap cannot be copied.
    #[error(
        "Cannot copy bootstrap {} to a temporary file, which a pinned bootstrap digest needs",
        path.display()
    )]
    Copy {
        /// The bootstrap.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is no RAFS bootstrap.
    #[error("{} is not a RAFS bootstrap: {reason}", path.display())]
    NotABootstrap {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A structure breaks the format.
    #[error("Bootstrap {} is damaged: {reason}", path.display())]
    Damaged {
        /// The bootstrap.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
    /// A node, list or record does not have the digest it must have.
    #[error("Proof failed in bootstrap {}: {what} is not what the root digest says", path.display())]
    Unproved {
        /// The bootstrap.
        path: PathBuf,
        /// What failed.
        what: String,
    },
    /// The pinned root digest is another one.
    #[error("Bootstrap {} has root sha256:{found}, but sha256:{wanted} is pinned; get the bootstrap again or correct the pin", path.display())]
    WrongRoot {
        /// The bootstrap.
        path: PathBuf,
        /// The root digest of the image.
        found: Digest,
        /// The one that is pinned.
        wanted: Digest,
    },
    /// The bootstrap file has another SHA-256 than the pinned one.
    #[error("Bootstrap {} is sha256:{found}, but sha256:{wanted} is pinned; get the bootstrap again or correct the pin", path.display())]
    WrongBootstrap {
        /// The bootstrap.
        path: PathBuf,
        /// The SHA-256 of the file.
        found: Digest,
        /// The one that is pinned.
        wanted: Digest,
    },
    /// The policy does not list the image.
    #[error(
        "The policy does not allow bootstrap {} (root {}, file {}): add its digest to the policy or \
         use an image that is listed",
        path.display(), shown(root.as_ref()), shown(bootstrap.as_ref())
    )]
    NotAllowed {
        /// The bootstrap.
        path: PathBuf,
        /// The root digest of the image.
        root: Option<Digest>,
        /// The SHA-256 of the file, if the policy lists any.
        bootstrap: Option<Digest>,
    },
    /// A root is pinned, but the image has no integrity section.
    #[error("Bootstrap {} has no integrity section, so no root digest can be checked; build or convert the image with Tidegate", path.display())]
    NoSection {
        /// The bootstrap.
        path: PathBuf,
    },
    /// A root is pinned or required, but the format has no root digest.
    #[error(
        "Bootstrap {} is RAFS v5, which has no root digest; pin the file with --bootstrap-digest \
         sha256:HEX, or convert the image with Tidegate",
        path.display()
    )]
    OnlyBootstrapDigest {
        /// The bootstrap.
        path: PathBuf,
    },
    /// The integrity section needs a newer program.
    #[error("The integrity section of bootstrap {} needs features this version does not know (version {version}, bits {bits:#x}); update Tidegate", path.display())]
    UnknownFeatures {
        /// The bootstrap.
        path: PathBuf,
        /// Version of the section.
        version: u32,
        /// The must-understand bits that are not known.
        bits: u64,
    },
    /// A root is required and none is pinned.
    #[error(
        "A root digest is required and none is pinned for bootstrap {}: give the publisher's with \
         --root; the image itself claims sha256:{own}",
        path.display()
    )]
    RootRequired {
        /// The bootstrap.
        path: PathBuf,
        /// The image's own root digest.
        own: Digest,
    },
}

fn shown(digest: Option<&Digest>) -> String {
    digest.map_or("not known".to_owned(), |digest| format!("sha256:{digest}"))
}
