//! Makes archives out of fuzz input: right checksums, compression.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

const BLOCK: usize = 512;

/// Where a header has its checksum, and its size.
const CHECKSUM: std::ops::Range<usize> = 148..156;
const SIZE: std::ops::Range<usize> = 124..136;

/// Gives each header the checksum that it should have, so that changed bytes
/// get past it. Walks as a reader would: a header, its data, the next header.
pub fn fix_checksums(archive: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = archive.get_mut(at..at + BLOCK) {
        at += BLOCK;
        if header.iter().all(|&byte| byte == 0) {
            continue;
        }
        header[CHECKSUM].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = header[SIZE]
            .iter()
            .filter(|byte| (b'0'..=b'7').contains(byte))
            .fold(0_usize, |sum, byte| {
                sum.saturating_mul(8)
                    .saturating_add(usize::from(byte - b'0'))
            });
        at = at.saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
    }
}

/// The archive as gzip.
pub fn gzip(archive: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(archive).unwrap();
    encoder.finish().unwrap()
}

/// The archive as zstd.
pub fn zstd(archive: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(archive, 1).unwrap()
}

/// Whether the bytes decompress to more than `limit` bytes: what a user asks
/// to be unpacked is unpacked, so that is no finding.
pub fn is_bomb(bytes: &[u8], limit: u64) -> bool {
    let count = |reader: &mut dyn Read| {
        let (mut buffer, mut sum) = ([0; 4096], 0);
        while let Ok(got @ 1..) = reader.read(&mut buffer) {
            sum += got as u64;
            if sum > limit {
                return true;
            }
        }
        false
    };
    match bytes {
        [0x1f, 0x8b, ..] => count(&mut flate2::bufread::MultiGzDecoder::new(bytes)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            zstd::stream::read::Decoder::with_buffer(bytes)
                .is_ok_and(|mut decoder| count(&mut decoder))
        }
        _ => false,
    }
}
