//! Blob table entries: 256 bytes for each blob.

use super::{field, put, u32_at, u64_at};
use crate::chunk::{BlobKey, Compressor, Digest, DigestAlgorithm};

/// Bytes of an entry.
pub const ENTRY: usize = 256;

/// Uncompressed chunks start at multiples of 4 KiB.
pub const ALIGNED: u32 = 0x1;
/// The chunk-info table has entries of 24 bytes.
pub const INFO_V2: u32 = 0x4;
/// The bootstrap is a section of the blob.
pub const INLINED_META: u32 = 0x2;
/// Data is inside an original tar.gz.
pub const ZRAN: u32 = 0x8;
/// Data and chunk info are two blobs.
pub const SEPARATE: u32 = 0x10;
/// An array of chunk digests lies with the chunk info.
pub const INLINED_DIGESTS: u32 = 0x20;
/// Data is an original tar.
pub const TARFS: u32 = 0x40;
/// Small files share a compressed unit.
pub const BATCH: u32 = 0x80;
/// Data is encrypted.
pub const ENCRYPTED: u32 = 0x100;
/// Made as a dictionary of chunks for other images.
pub const CHUNK_DICT: u32 = 0x200;
/// Content lies in a foreign storage.
pub const EXTERNAL: u32 = 0x800;
/// Other bits that change how a blob is read, none of which is known.
pub const UNKNOWN: u32 = 0xf000;
/// Sections have a footer in the form of a tar header.
pub const HAS_TAR_HEADER: u32 = 0x1000_0000;
/// A table of contents ends the blob.
pub const HAS_TOC: u32 = 0x2000_0000;
/// Sizes and ids follow the rules of release 2.2 and later.
pub const CAP_TAR_TOC: u32 = 0x4000_0000;

/// One entry of the blob table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobEntry {
    /// Name of the blob: 64 hexadecimal digits.
    pub id: String,
    /// Position in the table.
    pub index: u32,
    /// Chunk size in bytes.
    pub chunk_size: u32,
    /// Number of chunks.
    pub chunks: u32,
    /// Compressor of chunk data.
    pub compressor: Compressor,
    /// Algorithm of chunk digests.
    pub algorithm: DigestAlgorithm,
    /// Feature bits.
    pub features: u32,
    /// Length of the blob file.
    pub stored_size: u64,
    /// Length of the uncompressed layout.
    pub uncompressed_size: u64,
    /// Compressor of the chunk-info table.
    pub info_compressor: Compressor,
    /// Chunk-info table: offset in the blob, stored and raw length.
    pub info: (u64, u64, u64),
    /// Table of contents at the end of the file that holds the chunk info:
    /// length with its footer, and SHA-256 of both. None where one is not known.
    pub toc: Option<(u32, Digest)>,
    /// The blob that holds the chunk info, if it is another one: SHA-256 and
    /// length.
    pub meta: Option<(Digest, u64)>,
    /// Key and initial vector of an encrypted blob.
    pub key: Option<BlobKey>,
}

impl BlobEntry {
    /// Parses an entry of [`ENTRY`] bytes.
    ///
    /// # Errors
    /// Says which field does not fit.
    pub fn parse(entry: &[u8]) -> Result<Self, String> {
        let id: Vec<u8> = entry
            .iter()
            .take(64)
            .copied()
            .take_while(|&byte| byte != 0)
            .collect();
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let features = u32_at(entry, 84);
        // The id was not known when a bootstrap was written into its own blob.
        let unknown = features & INLINED_META != 0 && id.iter().all(|&byte| byte == b'x');
        if id.len() != 64 || !(unknown || id.iter().all(is_hex)) {
            return Err(format!("blob id {:?}", String::from_utf8_lossy(&id)));
        }
        let encrypted = features & ENCRYPTED != 0;
        let cipher = u32_at(entry, 216);
        if cipher != u32::from(encrypted) {
            return Err(format!(
                "cipher {cipher} with features {features:#x} (AES-128-XTS is 1, others are not read)"
            ));
        }
        let (toc_len, toc) = (u32_at(entry, 104), Digest(field(entry, 136)));
        let meta = Digest(field(entry, 168));
        let algorithm = match u32_at(entry, 80) {
            0 => DigestAlgorithm::Blake3,
            1 => DigestAlgorithm::Sha256,
            other => return Err(format!("digest algorithm {other}")),
        };
        let compressor_at = |at| {
            let id = u32_at(entry, at);
            Compressor::from_id(id).ok_or_else(|| format!("compressor {id}"))
        };
        Ok(Self {
            id: String::from_utf8_lossy(&id).into_owned(),
            index: u32_at(entry, 64),
            chunk_size: u32_at(entry, 68),
            chunks: u32_at(entry, 72),
            compressor: compressor_at(76)?,
            algorithm,
            features,
            stored_size: u64_at(entry, 88),
            uncompressed_size: u64_at(entry, 96),
            info_compressor: compressor_at(108)?,
            info: (u64_at(entry, 112), u64_at(entry, 120), u64_at(entry, 128)),
            toc: (toc != Digest::default()).then_some((toc_len, toc)),
            meta: (features & SEPARATE != 0 && !encrypted).then(|| (meta, u64_at(entry, 200))),
            key: encrypted.then(|| BlobKey::new(field(entry, 168), field(entry, 200))),
        })
    }

    /// Whether the id is the place holder of a blob that holds its own
    /// bootstrap.
    pub fn is_unnamed(&self) -> bool {
        self.id.starts_with('x')
    }

    /// Encodes the entry.
    pub fn encode(&self) -> [u8; ENTRY] {
        let mut entry = [0; ENTRY];
        put(&mut entry, 0, self.id.as_bytes());
        put(&mut entry, 64, &self.index.to_le_bytes());
        put(&mut entry, 68, &self.chunk_size.to_le_bytes());
        put(&mut entry, 72, &self.chunks.to_le_bytes());
        put(&mut entry, 76, &self.compressor.id().to_le_bytes());
        put(&mut entry, 80, &self.algorithm.id().to_le_bytes());
        put(&mut entry, 84, &self.features.to_le_bytes());
        put(&mut entry, 88, &self.stored_size.to_le_bytes());
        put(&mut entry, 96, &self.uncompressed_size.to_le_bytes());
        put(&mut entry, 108, &self.info_compressor.id().to_le_bytes());
        put(&mut entry, 112, &self.info.0.to_le_bytes());
        put(&mut entry, 120, &self.info.1.to_le_bytes());
        put(&mut entry, 128, &self.info.2.to_le_bytes());
        if let Some((len, digest)) = &self.toc {
            put(&mut entry, 104, &len.to_le_bytes());
            put(&mut entry, 136, &digest.0);
        }
        if let Some((digest, len)) = &self.meta {
            put(&mut entry, 168, &digest.0);
            put(&mut entry, 200, &len.to_le_bytes());
        }
        entry
    }
}

#[cfg(test)]
impl BlobEntry {
    /// Any entry of a plain blob.
    pub(crate) fn example() -> Self {
        Self {
            id: "5a".repeat(32),
            index: 0,
            chunk_size: 1 << 20,
            chunks: 1,
            compressor: Compressor::Zstd,
            algorithm: DigestAlgorithm::Sha256,
            features: ALIGNED | CAP_TAR_TOC,
            stored_size: 1 << 20,
            uncompressed_size: 1 << 20,
            info_compressor: Compressor::None,
            info: (4096, 16, 16),
            toc: None,
            meta: None,
            key: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_parsed() {
        let plain = BlobEntry::example();
        assert_eq!(BlobEntry::parse(&plain.encode()), Ok(plain.clone()));
        let separate = BlobEntry {
            features: plain.features | ZRAN | SEPARATE | INFO_V2,
            toc: Some((1024, Digest([3; 32]))),
            meta: Some((Digest([4; 32]), 77)),
            ..plain
        };
        assert_eq!(BlobEntry::parse(&separate.encode()), Ok(separate));
    }

    #[test]
    fn a_key_is_read_and_never_shown() {
        let mut bytes = BlobEntry::example().encode();
        put(
            &mut bytes,
            84,
            &(ALIGNED | ENCRYPTED | INFO_V2).to_le_bytes(),
        );
        put(&mut bytes, 168, &[0xc5; 32]);
        assert!(BlobEntry::parse(&bytes).is_err(), "no cipher");
        put(&mut bytes, 216, &1_u32.to_le_bytes());
        let entry = BlobEntry::parse(&bytes).unwrap();
        assert_eq!(entry.key, Some(BlobKey::new([0xc5; 32], [0; 16])));
        let shown = format!("{entry:?}").to_lowercase();
        assert!(!shown.contains("c5c5") && !shown.contains("197"), "{shown}");
        put(&mut bytes, 216, &2_u32.to_le_bytes());
        assert!(BlobEntry::parse(&bytes).is_err(), "AES-256-XTS");
    }

    #[test]
    fn a_blob_without_a_name_must_hold_its_bootstrap() {
        let mut bytes = BlobEntry::example().encode();
        put(&mut bytes, 0, &[b'x'; 64]);
        assert!(BlobEntry::parse(&bytes).is_err());
        put(&mut bytes, 84, &(ALIGNED | INLINED_META).to_le_bytes());
        assert!(BlobEntry::parse(&bytes).unwrap().is_unnamed());
    }
}
