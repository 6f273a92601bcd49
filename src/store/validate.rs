//! Chunks that no honest image has.

use super::{Blob, Store, StoreError};
use crate::chunk::{CHUNK_SIZE_RANGE, Chunk, Form};
use crate::cipher;

impl Store {
    /// Refuses chunks that an honest image cannot have.
    pub(super) fn validate(&self, chunk: &Chunk) -> Result<(), StoreError> {
        let refuse = |reason| {
            Err(StoreError::BadChunk {
                blob: chunk.blob,
                index: chunk.index,
                reason,
            })
        };
        let Some(Blob { info, .. }) = self.blobs.get(usize::from(chunk.blob)) else {
            return refuse("there is no such blob");
        };
        if chunk.index >= info.chunks {
            return refuse("the blob has fewer chunks");
        }
        if chunk.len == 0 || chunk.len > *CHUNK_SIZE_RANGE.end() {
            return refuse("its length is not 1 byte to 16 MiB");
        }
        if !chunk.offset.is_multiple_of(4096) {
            return refuse("its offset is no multiple of 4096");
        }
        let reachable = |from: u64, len: u32, size: u64| {
            let end = from.checked_add(len.into());
            end.is_some_and(|end| end <= size && i64::try_from(end).is_ok())
        };
        if !reachable(chunk.offset, chunk.len, info.uncompressed_size) {
            return refuse("it ends behind its blob");
        }
        if !reachable(chunk.stored_offset, chunk.stored_len, u64::MAX) {
            return refuse("its stored form ends behind every file");
        }
        // No compressor makes more of less than this.
        let most = chunk.len + chunk.len / 8 + 4096;
        let stored_len = chunk.stored_len;
        let fits = match info.packing.form {
            Form::Batch if stored_len == 0 => true,
            // Its part of the stream, which is read with that of others.
            Form::Zran => true,
            _ if chunk.compressed => (1..=most).contains(&stored_len),
            _ if info.packing.key.is_some() => stored_len == cipher::stored_len(chunk.len),
            _ => stored_len == chunk.len,
        };
        if !fits {
            return refuse("its stored length does not go with its length");
        }
        Ok(())
    }
}
