//! What a converted layer depends on, as one name.

use std::io;
use std::path::PathBuf;

use sha2::Digest as _;

use super::record::VERSION;
use crate::build::options::BuildOptions;
use crate::chunk::{Compressor, Digest};

/// Domain of the hash.
const DOMAIN: &[u8; 16] = b"tidegate layer\0\0";

/// Which chunk dicts a layer is converted with; the default is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DictId(pub Digest);

impl DictId {
    /// The dicts with these bootstraps, in this order.
    ///
    /// # Errors
    /// What the system says to reading a bootstrap.
    pub fn of(bootstraps: &[PathBuf]) -> io::Result<Self> {
        if bootstraps.is_empty() {
            return Ok(Self::default());
        }
        let mut all = sha2::Sha256::new();
        for path in bootstraps {
            let mut one = sha2::Sha256::new();
            io::copy(&mut std::fs::File::open(path)?, &mut one)?;
            all.update(one.finalize());
        }
        Ok(Self(Digest(all.finalize().into())))
    }
}

/// The name of what becomes of the layer with that SHA-256 (as it is stored):
/// equal names, equal blob and record.
pub fn layer_key(layer: &Digest, options: &BuildOptions, dict: &DictId) -> Digest {
    let level = match options.compressor {
        Compressor::Zstd => options.zstd_level,
        _ => 0,
    };
    let mut state = sha2::Sha256::new();
    state.update(DOMAIN);
    state.update(VERSION.to_le_bytes());
    state.update(layer.0);
    state.update(options.chunk_size.to_le_bytes());
    state.update(options.compressor.id().to_le_bytes());
    state.update(level.to_le_bytes());
    state.update(options.algorithm.id().to_le_bytes());
    state.update(dict.0.0);
    Digest(state.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::DigestAlgorithm;

    #[test]
    fn everything_that_an_image_depends_on_changes_the_key() {
        let options = BuildOptions::default();
        let (layer, none) = (Digest::default(), DictId::default());
        let key = layer_key(&layer, &options, &none);
        let threads = BuildOptions {
            threads: 77,
            ..options
        };
        assert_eq!(layer_key(&layer, &threads, &none), key);
        let others = [
            BuildOptions {
                chunk_size: 4096,
                ..options
            },
            BuildOptions {
                compressor: Compressor::Lz4,
                ..options
            },
            BuildOptions {
                zstd_level: 19,
                ..options
            },
            BuildOptions {
                algorithm: DigestAlgorithm::Blake3,
                ..options
            },
        ];
        for other in others {
            assert_ne!(layer_key(&layer, &other, &none), key, "{other:?}");
        }
        assert_ne!(layer_key(&Digest([1; 32]), &options, &none), key);
        assert_ne!(layer_key(&layer, &options, &DictId(Digest([1; 32]))), key);
    }
}
