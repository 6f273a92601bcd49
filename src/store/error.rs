//! Why the store could not do what it was asked.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::BackendError;
use crate::chunk::{Chunk, Digest};

/// Why a store does not open or a chunk cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A blob has a name that none can have.
    #[error("Blob table names a blob {id:?}, which is no name of a blob: rebuild the image")]
    BadBlob {
        /// The name, as the image tells it.
        id: String,
    },
    /// Nothing can be proved of a blob's data.
    #[error(
        "Nobody gives the digests of the data in blob {id} (tarfs), so it cannot be proved: convert the \
         image, or serve it with --allow-unverified, or allow_unverified in the host's policy"
    )]
    NoDigests {
        /// The blob.
        id: String,
    },
    /// More blobs than 16 bits can number.
    #[error("Blob table has {count} blobs, more than 65536: rebuild the image")]
    TooManyBlobs {
        /// Number of blobs.
        count: usize,
    },
    /// The system gives no random bytes for the tag key.
    #[error("Cannot get random bytes for the tag key: {0}")]
    Random(getrandom::Error),
    /// The tag cache refuses its settings.
    #[error("Cannot set up a tag cache of {budget} bytes: {reason}")]
    TagBudget {
        /// Bytes asked for.
        budget: usize,
        /// What is wrong.
        reason: String,
    },
    /// A chunk's description makes no sense.
    #[error(
        "Chunk {index} of blob number {blob} is refused: {reason}; the image is damaged or hostile"
    )]
    BadChunk {
        /// Position of the blob in the blob table.
        blob: u16,
        /// Index of the chunk.
        index: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// The backend gave no bytes.
    #[error("Cannot fetch chunk {index} of blob {id} (digest {digest})")]
    Fetch {
        /// The blob.
        id: String,
        /// Index of the chunk.
        index: u32,
        /// Digest of the chunk.
        digest: Digest,
        /// What the backend said.
        #[source]
        source: Arc<BackendError>,
    },
    /// The backend's bytes are not the chunk.
    #[error(
        "Chunk {index} of blob {id} from {source_name} is not what digest {digest} names ({reason}): \
         restore the blob at its source"
    )]
    Damaged {
        /// The blob.
        id: String,
        /// Index of the chunk.
        index: u32,
        /// Digest of the chunk.
        digest: Digest,
        /// Where the bytes came from.
        source_name: String,
        /// What is wrong.
        reason: Box<Damage>,
    },
    /// No source gave the tables that lie in a blob.
    #[error("Cannot fetch the tables in blob {id} that say where its chunks are")]
    FetchTables {
        /// The blob that holds them.
        id: String,
        /// What the backend said.
        #[source]
        source: Arc<BackendError>,
    },
    /// The tables of a blob did not come in time.
    #[error("The tables in blob {id} that say where its chunks are did not come within {after:?}")]
    TablesLate {
        /// The blob that holds them.
        id: String,
        /// The time given.
        after: Duration,
    },
    /// The tables of a blob make no sense, or not what the bootstrap says.
    #[error(
        "The tables in blob {id} from {source_name} are damaged ({reason}): restore the blob at its \
         source"
    )]
    DamagedTables {
        /// The blob that holds them.
        id: String,
        /// Where they came from.
        source_name: String,
        /// What is wrong.
        reason: String,
    },
    /// The chunk did not come in time.
    #[error("Chunk {index} of blob {id} (digest {digest}) did not come within {after:?}")]
    Deadline {
        /// The blob.
        id: String,
        /// Index of the chunk.
        index: u32,
        /// Digest of the chunk.
        digest: Digest,
        /// The time given.
        after: Duration,
    },
    /// The task that read the chunk ended without an answer.
    #[error(
        "The read of chunk {index} of blob number {blob} was given up: the daemon is shutting down"
    )]
    Lost {
        /// Position of the blob in the blob table.
        blob: u16,
        /// Index of the chunk.
        index: u32,
    },
}

impl StoreError {
    /// The same error about this chunk, where it is one about the extent that
    /// holds it.
    pub(super) fn about(mut self, chunk: &Chunk) -> Self {
        if let Self::Fetch { index, digest, .. }
        | Self::Damaged { index, digest, .. }
        | Self::Deadline { index, digest, .. } = &mut self
        {
            (*index, *digest) = (chunk.index, chunk.digest);
        }
        self
    }
}

/// What is wrong with the stored form of a chunk.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The backend returned another number of bytes than asked for.
    #[error("{got} stored bytes in place of {wanted}")]
    StoredLength {
        /// Bytes asked for.
        wanted: u32,
        /// Bytes that came.
        got: usize,
    },
    /// The decompressor refuses the bytes, or they hold more than they may.
    #[error("{algorithm} cannot decompress it: {message}")]
    Decompress {
        /// The compressor.
        algorithm: &'static str,
        /// What it says.
        message: String,
    },
    /// Decompressed to another length.
    #[error("{got} bytes in place of {wanted}")]
    Length {
        /// The chunk's length.
        wanted: u32,
        /// Bytes there are.
        got: usize,
    },
    /// The extent has another length than the blob's tables say, or does not
    /// hold the chunk.
    #[error("the blob's tables do not fit it")]
    Tables,
    /// It is too short to be encrypted.
    #[error("{0} bytes are too few to be encrypted")]
    Cipher(usize),
    /// The bytes have another digest.
    #[error("its digest is {got}")]
    Digest {
        /// The digest that the bytes have.
        got: Digest,
    },
}

/// An error with all its causes, on one line, for the log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
