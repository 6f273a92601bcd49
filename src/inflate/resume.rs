//! Decompression of a raw DEFLATE stream from a place in its middle.
//!
//! Source of the method: `inflatePrime` and `inflateSetDictionary` of zlib, as
//! `examples/zran.c` of zlib uses them.

use libz_rs_sys as zlib;

use super::InflateError;
use super::stream::{Form, Pause, Stream};

/// Bytes that a stream can refer back to.
pub const WINDOW: usize = 32 << 10;

/// Decompresses raw DEFLATE bytes into `out` and returns how many bytes came
/// out: `out.len()`, or fewer where the stream or `stored` ends before.
///
/// The stream begins with the top `bits` (0 to 7) bits of the byte `previous`,
/// goes on with `stored`, and may refer to `dictionary`, the up to 32 KiB of
/// output before it.
///
/// # Errors
/// When the bytes are no DEFLATE stream or the place makes no sense.
pub fn resume(
    stored: &[u8],
    bits: u8,
    previous: u8,
    dictionary: &[u8],
    out: &mut [u8],
) -> Result<usize, InflateError> {
    if bits > 7 {
        return Err(InflateError::Bits(bits));
    }
    if dictionary.len() > WINDOW {
        return Err(InflateError::Dictionary(dictionary.len()));
    }
    for len in [stored.len(), out.len()] {
        u32::try_from(len).map_err(|_| InflateError::TooLong(len))?;
    }
    let mut stream = Stream::new(Form::Raw)?;
    if bits > 0 {
        stream.prime(bits, previous)?;
    }
    if !dictionary.is_empty() {
        stream.set_dictionary(dictionary)?;
    }
    let step = stream.inflate(stored, out, Pause::Never);
    match step.code {
        // No progress is possible: the input ended, or the output is full.
        zlib::Z_OK | zlib::Z_STREAM_END | zlib::Z_BUF_ERROR => Ok(step.produced),
        code => Err(InflateError::Refused {
            done: step.produced,
            code,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn data(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut word = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 28
        };
        (0..len)
            .map(|_| b'a' + u8::try_from(word()).unwrap())
            .collect()
    }

    fn deflate(data: &[u8]) -> Vec<u8> {
        let mut it = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        it.write_all(data).unwrap();
        it.finish().unwrap()
    }

    #[test]
    fn a_stream_from_its_start_gives_what_went_in() {
        let data = data(300_000);
        let stored = deflate(&data);
        let mut out = vec![0; data.len()];
        assert_eq!(resume(&stored, 0, 0, &[], &mut out), Ok(data.len()));
        assert_eq!(out, data);
        let mut out = vec![0; 1000];
        assert_eq!(resume(&stored, 0, 0, &[], &mut out), Ok(1000));
        assert_eq!(out, data[..1000]);
    }

    #[test]
    fn a_stream_is_entered_with_the_dictionary_before_it() {
        let data = data(200_000);
        // A full flush ends a block at a byte; matches reach behind it only
        // with the dictionary.
        let mut stream = flate2::Compress::new(flate2::Compression::best(), false);
        let mut stored = Vec::with_capacity(data.len());
        let (first, second) = data.split_at(100_000);
        stream
            .compress_vec(first, &mut stored, flate2::FlushCompress::Sync)
            .unwrap();
        let at = stored.len();
        stream
            .compress_vec(second, &mut stored, flate2::FlushCompress::Finish)
            .unwrap();
        let dictionary = &first[first.len() - WINDOW..];
        let mut out = vec![0; second.len()];
        let got = resume(&stored[at..], 0, 0, dictionary, &mut out);
        assert_eq!(got, Ok(second.len()));
        assert_eq!(out, second);
        let mut other = vec![0; second.len()];
        let got = resume(&stored[at..], 0, 0, &[], &mut other);
        assert!(got.is_err() || other != second);
    }

    /// Two stored blocks of the fixed code that are not aligned to bytes.
    #[test]
    fn a_stream_is_entered_in_the_middle_of_a_byte() {
        // Fixed block, not last: 'a' (0x30 + 97 = 0x91, 8 bits), end (7 zero
        // bits); then a fixed block, last: 'b', end. 3 + 8 + 7 = 18 bits each.
        let mut bits = Vec::new();
        let mut block = |last: u8, byte: u8| {
            bits.extend([last, 1, 0]);
            bits.extend((0..8).rev().map(|n| (byte + 0x30) >> n & 1));
            bits.extend([0; 7]);
        };
        block(0, b'a');
        block(1, b'b');
        let bytes: Vec<u8> = bits
            .chunks(8)
            .map(|byte| byte.iter().zip(0..).fold(0, |sum, (bit, n)| sum | bit << n))
            .collect();
        let mut out = [0; 2];
        assert_eq!(resume(&bytes, 0, 0, &[], &mut out), Ok(2));
        assert_eq!(&out, b"ab");
        // The second block begins at bit 18: byte 2, bit 2; 6 bits are left.
        let mut out = [0; 1];
        assert_eq!(resume(&bytes[3..], 6, bytes[2], &[], &mut out), Ok(1));
        assert_eq!(&out, b"b");
    }

    #[test]
    fn nonsense_is_refused_and_what_ends_early_says_so() {
        assert_eq!(resume(&[], 8, 0, &[], &mut []), Err(InflateError::Bits(8)));
        let long = vec![0; WINDOW + 1];
        let got = resume(&[], 0, 0, &long, &mut []);
        assert_eq!(got, Err(InflateError::Dictionary(WINDOW + 1)));
        let mut out = [0; 64];
        assert!(resume(&[0xff; 32], 0, 0, &[], &mut out).is_err());
        assert_eq!(resume(&[], 0, 0, &[], &mut out), Ok(0));
        let data = data(10_000);
        let stored = deflate(&data);
        let mut out = vec![0; data.len()];
        // The last bytes may hold nothing but the end of the stream.
        for end in 0..stored.len() - 8 {
            let got = resume(&stored[..end], 0, 0, &[], &mut out);
            assert!(got.is_ok_and(|got| got < data.len()), "{end}");
        }
    }
}
