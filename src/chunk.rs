//! What a chunk is and how it is named: the words that `image`, `store` and
//! `build` share. No I/O.

use std::fmt;

use sha2::Digest as _;
use zeroize::Zeroizing;

/// Bytes of every digest in Tidegate.
pub const DIGEST_LEN: usize = 32;

/// Smallest and largest chunk size that an image may use, in bytes. Sizes are
/// powers of two.
pub const CHUNK_SIZE_RANGE: std::ops::RangeInclusive<u32> = 4096..=16 << 20;

/// A 32-byte digest; which algorithm made it is known from where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Digest(pub [u8; DIGEST_LEN]);

impl Digest {
    /// Parses 64 hexadecimal digits, with or without a `sha256:` before them.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let mut digest = [0; DIGEST_LEN];
        hex::decode_to_slice(hex, &mut digest).ok()?;
        Some(Self(digest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The algorithm that names an image's chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum DigestAlgorithm {
    /// BLAKE3, RAFS id 0.
    Blake3,
    /// SHA-256, RAFS id 1.
    Sha256,
}

impl DigestAlgorithm {
    /// The number that RAFS and the root digest use for the algorithm.
    pub fn id(self) -> u32 {
        match self {
            Self::Blake3 => 0,
            Self::Sha256 => 1,
        }
    }

    /// The digest of one chunk's uncompressed bytes.
    pub fn digest(self, data: &[u8]) -> Digest {
        match self {
            Self::Blake3 => Digest(*blake3::hash(data).as_bytes()),
            Self::Sha256 => Digest(sha2::Sha256::digest(data).into()),
        }
    }
}

/// How a blob's chunks are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Compressor {
    /// Stored as they are.
    None,
    /// Raw LZ4 blocks.
    Lz4,
    /// One gzip member per chunk (written by other tools only).
    Gzip,
    /// One zstd frame per chunk.
    Zstd,
}

impl Compressor {
    /// The RAFS number of the compressor.
    pub fn id(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
            Self::Gzip => 2,
            Self::Zstd => 3,
        }
    }

    /// The compressor of a RAFS number.
    pub fn from_id(id: u32) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            2 => Some(Self::Gzip),
            3 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// One chunk: which bytes it must be (`digest`, `len`) and where they lie.
///
/// Where they lie is a claim of the image; only bytes that have the digest are
/// ever served.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Chunk {
    /// Position of the blob in the image's blob table, from 0.
    pub blob: u16,
    /// Index of the chunk inside its blob, from 0.
    pub index: u32,
    /// Digest of the uncompressed bytes, by the blob's algorithm.
    pub digest: Digest,
    /// Uncompressed length in bytes, 1 to 16 MiB.
    pub len: u32,
    /// Offset in the blob's uncompressed layout (the cache file), a multiple
    /// of 4096.
    pub offset: u64,
    /// Offset of the stored form in the blob.
    pub stored_offset: u64,
    /// Length of the stored form in the blob; 0 if it has none of its own (see
    /// [`Form::Batch`]).
    pub stored_len: u32,
    /// Whether the stored form is compressed with the blob's compressor.
    pub compressed: bool,
}

/// Whether a blob may be called so: 1 to 64 letters, digits, dots, dashes and
/// underscores, of which the first is no dot. Fit for being part of a path or
/// URL.
pub fn is_blob_name(id: &[u8]) -> bool {
    let may = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=64).contains(&id.len()) && id.iter().all(may) && id.first() != Some(&b'.')
}

/// One blob of an image, as its blob table tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobInfo {
    /// Name of the blob, as [`is_blob_name`] demands: 64 hexadecimal digits, the
    /// SHA-256 of the file, but in old images.
    pub id: String,
    /// Algorithm of the chunks' digests.
    pub algorithm: DigestAlgorithm,
    /// Compressor of the compressed chunks.
    pub compressor: Compressor,
    /// Number of chunks.
    pub chunks: u32,
    /// Length of the uncompressed layout in bytes.
    pub uncompressed_size: u64,
    /// Length of the blob file in bytes.
    pub stored_size: u64,
    /// Digest over the layout of all the chunks: with the id, the key of the
    /// blob's cache file, so that an image that tells another layout gets a
    /// file of its own.
    pub layout: Digest,
    /// How chunks are packed in the blob file.
    pub packing: Packing,
}

/// How the chunks of a blob are packed in its file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Packing {
    /// What a chunk's place in the file means.
    pub form: Form,
    /// Where the blob's own tables are, if they are needed to find chunks.
    pub tables: Option<Tables>,
    /// The key of an encrypted blob.
    pub key: Option<BlobKey>,
}

/// What a chunk's place in a blob file means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// Each chunk has a stored form of its own.
    #[default]
    Plain,
    /// So have some; those of small files (with a stored length of 0) share one
    /// with others.
    Batch,
    /// Chunks are parts of the tar archive inside a gzip file, which is entered
    /// at the places of an index.
    Zran,
    /// Chunks are parts of a tar archive, and nobody said their digests.
    Tar,
}

impl Form {
    /// Whether the image gives the digests of the chunks.
    pub fn has_digests(self) -> bool {
        self != Self::Tar
    }
}

/// Where the tables of a blob are: of which extents there are and which chunks
/// are in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tables {
    /// The blob that holds them; it may be another one.
    pub id: String,
    /// Chunk-info table and header: offset and length.
    pub info: (u64, u32),
    /// The table of contents with the digests of those: offset and length.
    pub toc: Option<(u64, u32)>,
}

/// Key and initial vector of a blob that is encrypted with AES-128-XTS. Never
/// shown, and overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct BlobKey {
    key: Zeroizing<[u8; 32]>,
    iv: Zeroizing<[u8; 16]>,
}

impl BlobKey {
    /// A key: 16 bytes for the data, 16 for the tweak, and the vector.
    pub fn new(key: [u8; 32], iv: [u8; 16]) -> Self {
        Self {
            key: Zeroizing::new(key),
            iv: Zeroizing::new(iv),
        }
    }

    /// The two keys, one behind the other.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The vector.
    pub fn iv(&self) -> &[u8; 16] {
        &self.iv
    }
}

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobKey(not shown)")
    }
}
