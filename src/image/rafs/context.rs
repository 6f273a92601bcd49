//! Contexts: 40 bytes for each extent that chunks share.

use super::{put, u32_at, u64_at};

/// Bytes of a context.
pub const CONTEXT: usize = 40;

/// Most bytes that one extent may hold, as it is stored (and a little more) and
/// decompressed.
pub const EXTENT_MAX: u32 = 16 << 20;

/// Longest dictionary in bytes.
pub const DICTIONARY_MAX: u32 = 32 << 10;

/// Small files that are compressed as one. Its place in the blob is said by its
/// chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchContext {
    /// Length in the blob.
    pub len: u32,
    /// Length when it is decompressed; compressed if the two differ.
    pub raw: u32,
}

impl BatchContext {
    /// Parses a context of [`CONTEXT`] bytes.
    ///
    /// # Errors
    /// When it is longer than [`EXTENT_MAX`], or empty.
    pub fn parse(context: &[u8]) -> Result<Self, String> {
        let it = Self {
            len: u32_at(context, 0),
            raw: u32_at(context, 4),
        };
        check(it.len, it.raw)?;
        Ok(it)
    }
}

/// A place where a gzip stream can be entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZranContext {
    /// Offset in the compressed file.
    pub offset: u64,
    /// Offset in the decompressed file.
    pub raw_offset: u64,
    /// Offset in the dictionaries behind all contexts.
    pub dictionary: u64,
    /// Length in the compressed file.
    pub len: u32,
    /// Length when it is decompressed.
    pub raw: u32,
    /// Length of the dictionary.
    pub dictionary_len: u32,
    /// The byte before `offset`.
    pub previous: u8,
    /// Bits of it, from the top, that belong to the stream.
    pub bits: u8,
}

impl ZranContext {
    /// Parses a context of [`CONTEXT`] bytes.
    ///
    /// # Errors
    /// When it is longer than [`EXTENT_MAX`] or empty, or has more bits or a
    /// longer dictionary than a stream can have.
    pub fn parse(context: &[u8]) -> Result<Self, String> {
        let [previous, bits, _, _] = u32_at(context, 36).to_le_bytes();
        let it = Self {
            offset: u64_at(context, 0),
            raw_offset: u64_at(context, 8),
            dictionary: u64_at(context, 16),
            len: u32_at(context, 24),
            raw: u32_at(context, 28),
            dictionary_len: u32_at(context, 32),
            previous,
            bits,
        };
        check(it.len, it.raw)?;
        if it.bits > 7 || it.dictionary_len > DICTIONARY_MAX {
            return Err(format!(
                "{} bits (context offset 37) and a dictionary of {} bytes (32)",
                it.bits, it.dictionary_len
            ));
        }
        Ok(it)
    }

    /// Encodes the context.
    pub fn encode(&self) -> [u8; CONTEXT] {
        let mut context = [0; CONTEXT];
        put(&mut context, 0, &self.offset.to_le_bytes());
        put(&mut context, 8, &self.raw_offset.to_le_bytes());
        put(&mut context, 16, &self.dictionary.to_le_bytes());
        put(&mut context, 24, &self.len.to_le_bytes());
        put(&mut context, 28, &self.raw.to_le_bytes());
        put(&mut context, 32, &self.dictionary_len.to_le_bytes());
        put(&mut context, 36, &[self.previous, self.bits]);
        context
    }
}

fn check(len: u32, raw: u32) -> Result<(), String> {
    let stored = 1..=EXTENT_MAX + EXTENT_MAX / 8;
    if stored.contains(&len) && (1..=EXTENT_MAX).contains(&raw) {
        return Ok(());
    }
    Err(format!(
        "an extent of {len} bytes, {raw} decompressed; at most {EXTENT_MAX} are read"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_read_and_bombs_refused() {
        let mut bytes = [0; CONTEXT];
        bytes[..8].copy_from_slice(&0x0000_2000_0000_1000_u64.to_le_bytes());
        let batch = BatchContext::parse(&bytes).unwrap();
        assert_eq!((batch.len, batch.raw), (0x1000, 0x2000));
        bytes[7] = 0x7f;
        assert!(BatchContext::parse(&bytes).is_err());
        assert!(BatchContext::parse(&[0; CONTEXT]).is_err());

        let mut bytes = [0; CONTEXT];
        bytes[0] = 9;
        bytes[24] = 1;
        bytes[29] = 1;
        bytes[33] = 0x80;
        (bytes[36], bytes[37]) = (0xcc, 5);
        let zran = ZranContext::parse(&bytes).unwrap();
        assert_eq!((zran.offset, zran.len, zran.raw), (9, 1, 256));
        assert_eq!(zran.dictionary_len, DICTIONARY_MAX);
        assert_eq!((zran.previous, zran.bits), (0xcc, 5));
        bytes[37] = 8;
        assert!(ZranContext::parse(&bytes).is_err());
        (bytes[32], bytes[37]) = (1, 0);
        assert!(ZranContext::parse(&bytes).is_err());
    }
}
