//! From the stored form of a chunk to its bytes, never allocating more than
//! the chunk's own length.

use std::cell::RefCell;
use std::io::Read as _;

use bytes::Bytes;

use super::error::Damage;
use crate::chunk::{Chunk, Compressor};

/// The chunk's uncompressed bytes out of its `stored` form: exactly
/// `chunk.len` of them, not yet proved.
pub(super) fn decompress(
    chunk: &Chunk,
    compressor: Compressor,
    stored: Bytes,
) -> Result<Bytes, Damage> {
    if u32::try_from(stored.len()) != Ok(chunk.stored_len) {
        return Err(Damage::StoredLength {
            wanted: chunk.stored_len,
            got: stored.len(),
        });
    }
    let wanted = usize::try_from(chunk.len).unwrap_or(usize::MAX);
    let bytes = match compressor {
        _ if !chunk.compressed => stored,
        Compressor::None => stored,
        Compressor::Lz4 => lz4(&stored, wanted)?.into(),
        Compressor::Gzip => gzip(&stored, wanted)?.into(),
        Compressor::Zstd => zstd(&stored, wanted)?.into(),
    };
    if bytes.len() != wanted {
        return Err(Damage::Length {
            wanted: chunk.len,
            got: bytes.len(),
        });
    }
    Ok(bytes)
}

fn refused(algorithm: &'static str, why: impl ToString) -> Damage {
    Damage::Decompress {
        algorithm,
        message: why.to_string(),
    }
}

fn lz4(stored: &[u8], wanted: usize) -> Result<Vec<u8>, Damage> {
    let mut out = vec![0; wanted];
    let got =
        lz4_flex::block::decompress_into(stored, &mut out).map_err(|why| refused("lz4", why))?;
    out.truncate(got);
    Ok(out)
}

fn gzip(stored: &[u8], wanted: usize) -> Result<Vec<u8>, Damage> {
    let mut member = flate2::bufread::GzDecoder::new(stored);
    let mut out = vec![0; wanted];
    member
        .read_exact(&mut out)
        .map_err(|why| refused("gzip", why))?;
    // Reading on reaches the checksum at the end of the member, or a bomb.
    match member.read(&mut [0]) {
        Ok(0) => Ok(out),
        Ok(_) => Err(refused("gzip", "it holds more than the chunk")),
        Err(why) => Err(refused("gzip", why)),
    }
}

thread_local! {
    /// Making a context costs as much as decompressing 50 KiB: each thread
    /// keeps one, of about 160 KiB.
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn zstd(stored: &[u8], wanted: usize) -> Result<Vec<u8>, Damage> {
    let mut out = vec![0; wanted];
    let got = ZSTD.with_borrow_mut(|kept| {
        let context = match kept {
            Some(context) => context,
            None => kept.insert(zstd::bulk::Decompressor::new()?),
        };
        // Each call begins a frame anew, also after one that failed.
        context.decompress_to_buffer(stored, out.as_mut_slice())
    });
    out.truncate(got.map_err(|why| refused("zstd", why))?);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::chunk::Digest;

    fn pack(compressor: Compressor, data: &[u8]) -> Bytes {
        match compressor {
            Compressor::None => Bytes::copy_from_slice(data),
            Compressor::Lz4 => lz4_flex::block::compress(data).into(),
            Compressor::Zstd => zstd::bulk::compress(data, 3).unwrap().into(),
            Compressor::Gzip => {
                let mut it = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                it.write_all(data).unwrap();
                it.finish().unwrap().into()
            }
        }
    }

    fn chunk(len: usize, stored: &Bytes) -> Chunk {
        Chunk {
            blob: 0,
            index: 0,
            digest: Digest::default(),
            len: u32::try_from(len).unwrap(),
            offset: 0,
            stored_offset: 0,
            stored_len: u32::try_from(stored.len()).unwrap(),
            compressed: true,
        }
    }

    const ALL: [Compressor; 4] = [
        Compressor::None,
        Compressor::Lz4,
        Compressor::Gzip,
        Compressor::Zstd,
    ];

    #[test]
    fn every_compressor_gives_back_what_went_in() {
        let data: Vec<u8> = (0..9000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for compressor in ALL {
            let stored = pack(compressor, &data);
            let got = decompress(&chunk(data.len(), &stored), compressor, stored).unwrap();
            assert_eq!(got, data, "{compressor:?}");
        }
    }

    #[test]
    fn a_stored_form_that_holds_more_or_less_is_refused() {
        let bomb = vec![0; 32 << 20];
        for compressor in ALL {
            let stored = pack(compressor, &bomb);
            for len in [1, 4096, 16 << 20] {
                let got = decompress(&chunk(len, &stored), compressor, stored.clone());
                assert!(got.is_err(), "{compressor:?} {len}");
            }
            let stored = pack(compressor, b"few");
            assert!(decompress(&chunk(4096, &stored), compressor, stored).is_err());
        }
    }

    #[test]
    fn cut_and_altered_forms_are_refused_or_have_the_right_length() {
        let data: Vec<u8> = (0..9000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for compressor in [Compressor::Lz4, Compressor::Gzip, Compressor::Zstd] {
            let stored = pack(compressor, &data);
            for at in 0..stored.len() {
                let cut = stored.slice(..at);
                assert!(decompress(&chunk(data.len(), &cut), compressor, cut).is_err());
                let mut bad = stored.to_vec();
                bad[at] ^= 0x55;
                let bad = Bytes::from(bad);
                if let Ok(got) = decompress(&chunk(data.len(), &bad), compressor, bad) {
                    assert_eq!(got.len(), data.len());
                }
            }
        }
    }
}
