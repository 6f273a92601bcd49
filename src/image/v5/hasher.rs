//! Digests of lists of digests, without the list in memory.

use sha2::Digest as _;

use crate::chunk::{Digest, DigestAlgorithm};

/// A digest in the making.
pub(crate) enum Hasher {
    Blake3(Box<blake3::Hasher>),
    Sha256(sha2::Sha256),
}

impl Hasher {
    /// Nothing hashed yet.
    pub(crate) fn new(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Blake3 => Self::Blake3(Box::default()),
            DigestAlgorithm::Sha256 => Self::Sha256(sha2::Sha256::default()),
        }
    }

    /// Adds a digest.
    pub(crate) fn update(&mut self, digest: &Digest) {
        match self {
            Self::Blake3(hasher) => drop(hasher.update(&digest.0)),
            Self::Sha256(hasher) => hasher.update(digest.0),
        }
    }

    /// The digest of all that was added.
    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Blake3(hasher) => Digest(*hasher.finalize().as_bytes()),
            Self::Sha256(hasher) => Digest(hasher.finalize().into()),
        }
    }
}
