//! Sizes on the command line: `1MiB`, `64KiB`, `4096`.

use bytesize::ByteSize;

use crate::chunk::CHUNK_SIZE_RANGE;

/// Parses a chunk size: a power of two from 4 KiB to 16 MiB.
pub(super) fn chunk_size(text: &str) -> Result<u32, String> {
    let bytes = text.parse::<ByteSize>()?.as_u64();
    u32::try_from(bytes)
        .ok()
        .filter(|size| size.is_power_of_two() && CHUNK_SIZE_RANGE.contains(size))
        .ok_or_else(|| format!("{text} is no power of two from 4KiB to 16MiB"))
}

/// Parses a size in bytes on a disk.
pub(super) fn on_disk(text: &str) -> Result<u64, String> {
    Ok(text.parse::<ByteSize>()?.as_u64())
}

/// Parses a size in bytes.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse::<ByteSize>()?.as_u64();
    usize::try_from(bytes).map_err(|_| format!("{text} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_powers_of_two_in_range() {
        assert_eq!(chunk_size("1MiB"), Ok(1 << 20));
        assert_eq!(chunk_size("4096"), Ok(4096));
        for wrong in ["0", "1MB", "2KiB", "32MiB", "many"] {
            assert!(chunk_size(wrong).is_err(), "{wrong}");
        }
    }
}
