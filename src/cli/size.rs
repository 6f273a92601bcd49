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

/// Parses bytes per second: `10MiB/s`, or the same without `/s`.
pub(super) fn bandwidth(text: &str) -> Result<u64, String> {
    let size = text.strip_suffix("/s").unwrap_or(text);
    match size.parse::<ByteSize>()?.as_u64() {
        0 => Err(format!("{text} is no bandwidth; leave it out for no limit")),
        bytes => Ok(bytes),
    }
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

    #[test]
    fn bandwidths_are_sizes_per_second() {
        assert_eq!(bandwidth("10MiB/s"), Ok(10 << 20));
        assert_eq!(bandwidth("1000"), Ok(1000));
        for wrong in ["0", "0/s", "/s", "1MiB/h", "fast"] {
            assert!(bandwidth(wrong).is_err(), "{wrong}");
        }
    }
}
