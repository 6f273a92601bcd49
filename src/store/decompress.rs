//! From the stored form of a chunk or an extent to its bytes, never allocating
//! more than it is said to hold.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Read as _;

use bytes::Bytes;

use super::error::Damage;
use crate::chunk::{BlobInfo, BlobKey, Chunk, Compressor};
use crate::cipher;
use crate::extent::{Entry, Extent, Extents};
use crate::inflate;

/// The chunk's uncompressed bytes out of its `stored` form: exactly
/// `chunk.len` of them, not yet proved.
pub(super) fn decompress(chunk: &Chunk, blob: &BlobInfo, stored: Bytes) -> Result<Bytes, Damage> {
    check_stored(&stored, chunk.stored_len)?;
    let stored = match &blob.packing.key {
        None => stored,
        Some(key) => {
            let plain_len = (!chunk.compressed).then_some(chunk.len);
            decrypt(key, &stored, plain_len)?.into()
        }
    };
    if !chunk.compressed {
        return check_raw(stored, chunk.len);
    }
    let wanted = length(chunk.len);
    let bytes = match blob.compressor {
        Compressor::None => stored,
        compressor => inflate_all(compressor, &stored, wanted)?.into(),
    };
    check_raw(bytes, chunk.len)
}

/// The output of an extent: exactly `extent.raw` bytes, not yet proved.
pub(super) fn open_extent(
    extents: &Extents,
    extent: &Extent,
    blob: &BlobInfo,
    stored: &[u8],
) -> Result<Vec<u8>, Damage> {
    check_stored(stored, extent.len)?;
    let wanted = length(extent.raw);
    let raw = match extent.entry {
        Entry::Stream {
            bits,
            previous,
            dictionary,
        } => {
            let mut raw = vec![0; wanted];
            let dictionary = extents.dictionary(dictionary);
            let got = inflate::resume(stored, bits, previous, dictionary, &mut raw);
            raw.truncate(got.map_err(|why| refused("deflate", why))?);
            raw
        }
        Entry::Whole => {
            let stored = match &blob.packing.key {
                Some(key) => {
                    let whole =
                        (extent.len == cipher::stored_len(extent.raw)).then_some(extent.raw);
                    Cow::Owned(decrypt(key, stored, whole)?)
                }
                None => Cow::Borrowed(stored),
            };
            if stored.len() == wanted {
                stored.into_owned()
            } else {
                inflate_all(blob.compressor, &stored, wanted)?
            }
        }
    };
    check_raw(raw, extent.raw)
}

/// A decrypted piece. Its own length is known if it is not compressed; else it
/// is told by what fills it up.
fn decrypt(key: &BlobKey, stored: &[u8], len: Option<u32>) -> Result<Vec<u8>, Damage> {
    let mut piece = stored.to_vec();
    cipher::decrypt(key, &mut piece).ok_or(Damage::Cipher(stored.len()))?;
    let len = match len {
        Some(len) => length(len),
        None => cipher::unfilled(&piece).unwrap_or(piece.len()),
    };
    piece.truncate(len);
    Ok(piece)
}

fn inflate_all(compressor: Compressor, stored: &[u8], wanted: usize) -> Result<Vec<u8>, Damage> {
    match compressor {
        Compressor::None => Ok(stored.to_vec()),
        Compressor::Lz4 => lz4(stored, wanted),
        Compressor::Gzip => gzip(stored, wanted),
        Compressor::Zstd => zstd(stored, wanted),
    }
}

fn length(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

fn check_stored(stored: &[u8], wanted: u32) -> Result<(), Damage> {
    if u32::try_from(stored.len()) == Ok(wanted) {
        return Ok(());
    }
    let got = stored.len();
    Err(Damage::StoredLength { wanted, got })
}

fn check_raw<T: AsRef<[u8]>>(bytes: T, wanted: u32) -> Result<T, Damage> {
    let got = bytes.as_ref().len();
    if u32::try_from(got) == Ok(wanted) {
        return Ok(bytes);
    }
    Err(Damage::Length { wanted, got })
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

    fn blob(compressor: Compressor) -> BlobInfo {
        BlobInfo {
            id: String::new(),
            algorithm: crate::chunk::DigestAlgorithm::Sha256,
            compressor,
            chunks: 1,
            uncompressed_size: 0,
            stored_size: 0,
            layout: Digest::default(),
            packing: Default::default(),
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
            let got = decompress(&chunk(data.len(), &stored), &blob(compressor), stored).unwrap();
            assert_eq!(got, data, "{compressor:?}");
        }
    }

    #[test]
    fn a_stored_form_that_holds_more_or_less_is_refused() {
        let bomb = vec![0; 32 << 20];
        for compressor in ALL {
            let stored = pack(compressor, &bomb);
            for len in [1, 4096, 16 << 20] {
                let got = decompress(&chunk(len, &stored), &blob(compressor), stored.clone());
                assert!(got.is_err(), "{compressor:?} {len}");
            }
            let stored = pack(compressor, b"few");
            assert!(decompress(&chunk(4096, &stored), &blob(compressor), stored).is_err());
        }
    }

    #[test]
    fn cut_and_altered_forms_are_refused_or_have_the_right_length() {
        let data: Vec<u8> = (0..9000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for compressor in [Compressor::Lz4, Compressor::Gzip, Compressor::Zstd] {
            let stored = pack(compressor, &data);
            for at in 0..stored.len() {
                let cut = stored.slice(..at);
                assert!(decompress(&chunk(data.len(), &cut), &blob(compressor), cut).is_err());
                let mut bad = stored.to_vec();
                bad[at] ^= 0x55;
                let bad = Bytes::from(bad);
                if let Ok(got) = decompress(&chunk(data.len(), &bad), &blob(compressor), bad) {
                    assert_eq!(got.len(), data.len());
                }
            }
        }
    }
}
