use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::Digest as _;
use tar::{Builder, EntryType, Header};
use tempfile::{NamedTempFile, TempDir};

use super::*;
use crate::image::rafs::blob::{self, BlobEntry};
use crate::image::rafs::blob_meta::{HEADER, TableLayout};
use crate::image::rafs::chunk_info::{ChunkInfo, Stored, V2};
use crate::image::rafs::context::{CONTEXT, ZranContext};
use crate::image::rafs::toc;
use crate::inflate::resume;

/// Bytes that compress, but not well.
fn text(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let far = usize::try_from(state >> 16).unwrap();
        if state & 0x700 == 0 && far < out.len() {
            let from = out.len() - far;
            let piece: Vec<u8> = out[from..].iter().copied().take(60).collect();
            out.extend(piece);
        } else {
            out.extend(state.to_be_bytes().iter().flat_map(|byte| [*byte, b' ']));
        }
    }
    out.truncate(len);
    out
}

fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut it = GzEncoder::new(Vec::new(), Compression::new(6));
    it.write_all(bytes).unwrap();
    it.finish().unwrap()
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("small", text(1, 100)),
        ("large", text(2, 3_500_000)),
        ("empty", Vec::new()),
        ("zeros", vec![0; 2_500_000]),
        ("small again", text(1, 100)),
        ("last", text(3, 700_000)),
    ]
}

struct Indexed {
    dir: TempDir,
    stored: Vec<u8>,
    image: LayerImage,
}

fn index_bytes(stored: Vec<u8>) -> Result<Indexed, IndexError> {
    let dir = tempfile::tempdir().unwrap();
    let id = Digest(sha2::Sha256::digest(&stored).into());
    let input: Box<dyn Read + Send> = Box::new(io::Cursor::new(stored.clone()));
    let layer = Layer::read(id, input, dir.path())?;
    let record = NamedTempFile::new().unwrap();
    let places = (record.as_file(), record.path());
    let image = index(&layer, &options(1 << 20), dir.path(), places)?;
    drop(layer);
    Ok(Indexed { dir, stored, image })
}

/// Reads all chunks back by the index alone, and gives the stored bytes that
/// each needs at most.
fn read_back(indexed: &Indexed) -> u64 {
    let [blob] = indexed.image.blobs() else {
        panic!("{} blobs", indexed.image.blobs().len());
    };
    let (meta, len) = blob.meta.unwrap();
    let file = std::fs::read(indexed.dir.path().join(meta.to_string())).unwrap();
    assert_eq!(file.len() as u64, len);
    assert_eq!(Digest(sha2::Sha256::digest(&file).into()), meta);
    let entry = BlobEntry {
        id: blob.id.clone(),
        index: 0,
        chunk_size: 1 << 20,
        chunks: blob.chunks,
        compressor: blob.compressor,
        algorithm: blob.algorithm,
        features: blob.features,
        stored_size: blob.stored_size,
        uncompressed_size: blob.uncompressed_size,
        info_compressor: blob.table_compressor,
        info: (blob.table_offset, blob.table_stored_size, blob.table_size),
        toc: blob.toc,
        meta: blob.meta,
        key: None,
    };
    assert_eq!(BlobEntry::parse(&entry.encode()), Ok(entry.clone()));
    let stored = usize::try_from(blob.table_stored_size).unwrap();
    let (table, rest) = file.split_at(stored);
    let layout = TableLayout::parse(&rest[..HEADER], &entry).unwrap();
    let raw = zstd::bulk::decompress(table, layout.raw).unwrap();

    // The table of contents vouches for all sections.
    let (toc_len, toc_digest) = blob.toc.unwrap();
    let contents = &file[file.len() - toc_len as usize..];
    assert_eq!(Digest(sha2::Sha256::digest(contents).into()), toc_digest);
    let entries = toc::parse(contents).unwrap();
    let names: Vec<_> = entries.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, [toc::META, toc::META_HEADER, toc::DIGESTS]);
    let section = |it: &toc::Entry| {
        let at = usize::try_from(it.offset).unwrap();
        &file[at..at + usize::try_from(it.len).unwrap()]
    };
    let digest = |bytes: &[u8]| Digest(sha2::Sha256::digest(bytes).into());
    assert_eq!(entries[0].digest, digest(&raw));
    assert_eq!(entries[1].digest, digest(section(&entries[1])));
    let digests = section(&entries[2]);
    assert_eq!(entries[2].digest, digest(digests));

    let mut most = 0;
    for (number, chunk) in indexed.image.chunks().iter().enumerate() {
        let info = ChunkInfo::parse_v2(&raw[number * V2..][..V2]).unwrap();
        assert_eq!((info.offset, info.len), (chunk.offset, chunk.len));
        assert_eq!(digests[number * 32..][..32], chunk.digest.0);
        let bytes = match info.stored {
            Stored::Alone { offset, len, .. } => {
                most = most.max(u64::from(len));
                let at = usize::try_from(offset).unwrap();
                indexed.stored[at..at + len as usize].to_vec()
            }
            Stored::Shared {
                context,
                offset,
                zran,
                ..
            } => {
                assert!(zran);
                let at = layout.records() + context as usize * CONTEXT;
                let context = ZranContext::parse(&raw[at..at + CONTEXT]).unwrap();
                most = most.max(u64::from(context.len));
                let from = usize::try_from(context.offset).unwrap();
                let window = layout.dictionaries + usize::try_from(context.dictionary).unwrap();
                let mut out = vec![0; context.raw as usize];
                let got = resume(
                    &indexed.stored[from..from + context.len as usize],
                    context.bits,
                    context.previous,
                    &raw[window..window + context.dictionary_len as usize],
                    &mut out,
                );
                assert_eq!(got, Ok(out.len()));
                out[offset as usize..(offset + info.len) as usize].to_vec()
            }
        };
        assert_eq!(DigestAlgorithm::Sha256.digest(&bytes), chunk.digest);
    }
    most
}

#[test]
fn every_chunk_is_found_in_the_untouched_layer() {
    let files = files();
    let indexed = index_bytes(gzip(&archive(&files))).unwrap();
    let blob = &indexed.image.blobs()[0];
    assert_eq!(blob.stored_size, indexed.stored.len() as u64);
    assert!(blob.features & blob::ZRAN != 0);
    // Two small files are one, and so are two of the zeros' chunks.
    assert_eq!(blob.chunks, 1 + 4 + 2 + 1);
    let most = read_back(&indexed);
    assert!(most <= (1 << 20) + (256 << 10), "{most}");
}

#[test]
fn members_are_entered_one_by_one() {
    let files = files();
    let whole = archive(&files);
    // A member for each file, as eStargz has them: its header and data.
    let mut stored = Vec::new();
    let mut at = 0;
    for (_, bytes) in &files {
        let end = at + 512 + bytes.len().next_multiple_of(512);
        stored.extend(gzip(&whole[at..end]));
        at = end;
    }
    stored.extend(gzip(&whole[at..]));
    read_back(&index_bytes(stored).unwrap());
    // A member that ends inside a chunk.
    let cut = [gzip(&whole[..600_000]), gzip(&whole[600_000..])].concat();
    let error = index_bytes(cut).map(|_| ()).unwrap_err();
    assert!(matches!(error, IndexError::NoEntry { .. }), "{error}");
}

#[test]
fn a_plain_archive_has_ranges() {
    let indexed = index_bytes(archive(&files())).unwrap();
    let blob = &indexed.image.blobs()[0];
    assert_eq!(blob.features & blob::ZRAN, 0);
    assert_eq!(blob.compressor, Compressor::None);
    assert!(read_back(&indexed) <= 1 << 20);
}

#[test]
fn a_layer_without_data_has_no_blob() {
    let indexed = index_bytes(gzip(&archive(&[("empty", Vec::new())]))).unwrap();
    assert_eq!(indexed.image.blobs(), []);
    assert_eq!(indexed.dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn what_cannot_be_indexed_is_refused() {
    let whole = archive(&files());
    let zstd = zstd::bulk::compress(&whole, 1).unwrap();
    let error = index_bytes(zstd).map(|_| ()).unwrap_err();
    assert!(matches!(error, IndexError::Zstd { .. }), "{error}");
    let mut cut = gzip(&whole);
    cut.truncate(cut.len() - 9);
    let error = index_bytes(cut).map(|_| ()).unwrap_err();
    assert!(matches!(error, IndexError::Layer { .. }), "{error}");
    // Old GNU's sparse format: one piece of 512 bytes in a file of 1 MiB.
    let mut header = Header::new_gnu();
    header.set_path("sparse").unwrap();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(512);
    header.set_mode(0o644);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(1 << 20);
    gnu.sparse[0].set_offset(4096);
    gnu.sparse[0].set_length(512);
    gnu.sparse[1].set_offset(1 << 20);
    gnu.sparse[1].set_length(0);
    header.set_cksum();
    let sparse = [header.as_bytes(), &[7; 512][..], &[0; 1024]].concat();
    let error = index_bytes(gzip(&sparse)).map(|_| ()).unwrap_err();
    assert!(matches!(error, IndexError::NotOnePiece { .. }), "{error}");
}
