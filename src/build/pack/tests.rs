use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::build::source::directory;
use crate::chunk::Digest;

fn options(compressor: Compressor, threads: usize) -> BuildOptions {
    BuildOptions {
        chunk_size: 4096,
        compressor,
        threads,
        ..BuildOptions::default()
    }
}

/// Bytes that do not compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut step)
        .flatten()
        .take(len)
        .collect()
}

/// A tree with duplicates, compressible and other files, empty and odd ones.
fn source() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    for n in 0..200_u64 {
        let len = usize::try_from(n * 97 % 9000).unwrap();
        let name = dir.path().join(format!("sub/f{n}"));
        match n % 3 {
            0 => fs::write(name, noise(n, len)).unwrap(),
            1 => fs::write(name, noise(n % 5, len / 2).repeat(2)).unwrap(),
            _ => fs::write(name, b"text and text and ".repeat(len / 8)).unwrap(),
        }
    }
    let big = noise(7, 3 << 20);
    fs::write(dir.path().join("big"), &big).unwrap();
    fs::write(dir.path().join("copy of big"), &big).unwrap();
    dir
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Reads a blob back from its file alone, by the format's description.
fn read_back(file: &[u8], compressor: Compressor) -> Vec<Vec<u8>> {
    let header = &file[file.len() - 4096..];
    assert_eq!(
        (half(header, 0), half(header, 4092)),
        (0xb10b_b10b, 0xb10b_b10b)
    );
    assert_eq!(half(header, 4), 0x4000_0001);
    let count = usize::try_from(half(header, 12)).unwrap();
    let [at, stored, raw] = [16, 24, 32].map(|field| usize::try_from(word(header, field)).unwrap());
    assert_eq!(at + stored + 4096, file.len());
    let table = match half(header, 8) {
        0 => file[at..at + stored].to_vec(),
        3 => zstd::bulk::decompress(&file[at..at + stored], raw).unwrap(),
        other => panic!("table compressor {other}"),
    };
    assert_eq!((table.len(), raw), (count * 16, count * 16));
    let mut next = 0;
    table
        .chunks_exact(16)
        .map(|entry| {
            let (a, b) = (word(entry, 0), word(entry, 8));
            let len = usize::try_from((a >> 44) | (a >> 8 & 0xf) << 20).unwrap() + 1;
            let stored = usize::try_from((b >> 44) | (b >> 40 & 0xf) << 20).unwrap() + 1;
            assert_eq!(a & 0xfff_ffff_f000, next);
            next += u64::try_from(len).unwrap().next_multiple_of(4096);
            let at = usize::try_from(b & 0xff_ffff_ffff).unwrap();
            let bytes = &file[at..at + stored];
            match compressor {
                _ if stored == len => bytes.to_vec(),
                Compressor::Zstd => zstd::bulk::decompress(bytes, len).unwrap(),
                Compressor::Lz4 => lz4_flex::block::decompress(bytes, len).unwrap(),
                other => panic!("{other:?} has a chunk of another length"),
            }
        })
        .collect()
}

/// Checks that blobs, records and files agree with each other and the source.
fn check(tree: &Tree, packed: &Packed, dir: &Path) {
    let mut contents = Vec::new();
    for (number, blob) in packed.blobs.iter().enumerate() {
        let path = dir.join(&blob.id);
        let file = fs::read(&path).unwrap();
        assert_eq!(DigestAlgorithm::Sha256.digest(&file).to_string(), blob.id);
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o7777,
            0o644
        );
        assert_eq!(file.len(), usize::try_from(blob.stored_size).unwrap());
        let chunks = read_back(&file, blob.compressor);
        assert_eq!(chunks.len(), usize::try_from(blob.chunks).unwrap());
        for (index, bytes) in chunks.into_iter().enumerate() {
            let chunk = &packed.chunks[contents.len()];
            assert_eq!(usize::from(chunk.blob), number);
            assert_eq!(usize::try_from(chunk.index).unwrap(), index);
            assert_eq!(blob.algorithm.digest(&bytes), chunk.digest);
            assert_eq!(chunk.compressed, chunk.stored_len != chunk.len);
            if blob.compressor == Compressor::None {
                assert_eq!(chunk.offset, chunk.stored_offset);
                assert_eq!(blob.table_offset % 4096, 0);
            }
            contents.push(bytes);
        }
    }
    assert_eq!(contents.len(), packed.chunks.len());
    for node in &tree.nodes {
        let Content::File(file) = &node.content else {
            continue;
        };
        let bytes: Vec<u8> = file
            .chunks
            .iter()
            .flat_map(|c| contents[usize::try_from(*c).unwrap()].clone())
            .collect();
        let mut source = vec![0; usize::try_from(file.size).unwrap()];
        match &file.data {
            super::super::tree::Data::Path { path, .. } => source = fs::read(path).unwrap(),
            super::super::tree::Data::Range { file, offset, .. } => {
                file.read_exact_at(&mut source, *offset).unwrap();
            }
            super::super::tree::Data::Blobs => panic!("no source"),
        }
        assert!(bytes == source, "a file differs");
    }
}

fn build(
    source: &Path,
    options: &BuildOptions,
    dict: &dyn Dict,
) -> (Tree, Packed, tempfile::TempDir) {
    let out = tempfile::tempdir().unwrap();
    let mut tree = directory::scan(source).unwrap();
    let packed = pack(&mut tree, dict, options, out.path()).unwrap();
    (tree, packed, out)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[test]
fn every_chunk_can_be_read_back_from_the_blob() {
    let source = source();
    for compressor in [Compressor::None, Compressor::Lz4, Compressor::Zstd] {
        let (tree, packed, out) = build(source.path(), &options(compressor, 2), &NoDict);
        check(&tree, &packed, out.path());
        assert!(packed.statistics.duplicate_chunks >= 768);
        assert_eq!(files(out.path()).len(), 1);
    }
}

#[test]
fn the_number_of_threads_does_not_show() {
    let source = source();
    for compressor in [Compressor::None, Compressor::Lz4, Compressor::Zstd] {
        let (_, one, _out) = build(source.path(), &options(compressor, 1), &NoDict);
        for _ in 0..10 {
            let (_, four, _out) = build(source.path(), &options(compressor, 4), &NoDict);
            assert_eq!(one, four);
        }
    }
}

#[test]
fn a_chunk_of_the_largest_size_is_told_right() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("a"), noise(1, (16 << 20) + 5)).unwrap();
    for compressor in [Compressor::None, Compressor::Lz4, Compressor::Zstd] {
        let options = BuildOptions {
            chunk_size: 16 << 20,
            ..options(compressor, 2)
        };
        let (tree, packed, out) = build(source.path(), &options, &NoDict);
        assert_eq!(packed.chunks.len(), 2);
        check(&tree, &packed, out.path());
    }
}

#[test]
fn a_tree_without_bytes_has_no_blob() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("empty"), b"").unwrap();
    let (_, packed, out) = build(source.path(), &BuildOptions::default(), &NoDict);
    assert!(packed.blobs.is_empty() && packed.chunks.is_empty());
    assert!(files(out.path()).is_empty());
}

#[test]
fn full_blobs_are_followed_by_further_ones() {
    let source = source();
    let out = tempfile::tempdir().unwrap();
    let mut tree = directory::scan(source.path()).unwrap();
    for limits in [
        Limits {
            chunks: 100,
            ..Limits::default()
        },
        Limits {
            uncompressed: 1 << 20,
            ..Limits::default()
        },
        Limits {
            stored: 1 << 20,
            ..Limits::default()
        },
    ] {
        let options = options(Compressor::Zstd, 3);
        let packed = pack_within(&mut tree, &NoDict, &options, out.path(), &[], limits).unwrap();
        assert!(packed.blobs.len() > 2);
        assert!(packed.blobs.iter().all(|blob| blob.chunks <= limits.chunks));
        assert!(
            packed
                .blobs
                .iter()
                .all(|blob| blob.uncompressed_size <= limits.uncompressed)
        );
        assert!(
            packed
                .blobs
                .iter()
                .all(|blob| blob.table_offset < limits.stored)
        );
        check(&tree, &packed, out.path());
    }
}

#[test]
fn what_the_dictionary_has_is_not_written_again() {
    let source = source();
    let options = options(Compressor::Zstd, 2);
    let (_, base, out) = build(source.path(), &options, &NoDict);
    let unused = PackedBlob {
        id: "unused".into(),
        ..base.blobs[0].clone()
    };
    let other = Chunk {
        digest: Digest([1; 32]),
        ..base.chunks[0]
    };
    let list = || {
        vec![
            (unused.clone(), vec![other]),
            (base.blobs[0].clone(), base.chunks.clone()),
        ]
    };
    let dict = ChunkDict::new(list(), options.algorithm);
    fs::write(source.path().join("a new one"), noise(99, 10_000)).unwrap();

    let mut tree = directory::scan(source.path()).unwrap();
    let packed = pack(&mut tree, &dict, &options, out.path()).unwrap();
    assert_eq!(packed.blobs.len(), 2);
    assert!(!packed.blobs[0].dict && packed.blobs[1].dict);
    assert_eq!(packed.blobs[0].chunks, 3);
    assert_eq!(packed.blobs[1].id, base.blobs[0].id);
    assert_eq!(packed.statistics.unique_bytes, 10_000);
    check(&tree, &packed, out.path());

    let blake = ChunkDict::new(list(), DigestAlgorithm::Blake3);
    let mut tree = directory::scan(source.path()).unwrap();
    let packed = pack(&mut tree, &blake, &options, out.path()).unwrap();
    assert_eq!(packed.statistics.dict_chunks, 0);
}

#[test]
fn holes_are_chunks_of_zeros_and_cost_one() {
    let source = tempfile::tempdir().unwrap();
    let file = fs::File::create(source.path().join("sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(b"data", 30 << 20).unwrap();
    for compressor in [Compressor::None, Compressor::Zstd] {
        let options = BuildOptions {
            chunk_size: 1 << 20,
            ..options(compressor, 2)
        };
        let (tree, packed, out) = build(source.path(), &options, &NoDict);
        assert_eq!(packed.chunks.len(), 2);
        assert_eq!(packed.statistics.duplicate_chunks, 62);
        check(&tree, &packed, out.path());
    }
}

#[test]
fn files_that_change_are_named_and_nothing_is_left() {
    for len in [10, 6 << 20] {
        let source = source();
        let out = tempfile::tempdir().unwrap();
        let victim = source.path().join("sub/victim");
        fs::write(&victim, noise(3, 5 << 20)).unwrap();
        let mut tree = directory::scan(source.path()).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(&victim)
            .unwrap()
            .set_len(len)
            .unwrap();
        let result = pack(
            &mut tree,
            &NoDict,
            &options(Compressor::Zstd, 2),
            out.path(),
        );
        let error = result.unwrap_err().to_string();
        assert!(error.contains("sub/victim"), "{error}");
        assert!(files(out.path()).is_empty());
    }
}

#[test]
fn a_missing_blob_directory_is_named() {
    let source = source();
    let mut tree = directory::scan(source.path()).unwrap();
    let missing = source.path().join("no/such");
    let result = pack(&mut tree, &NoDict, &options(Compressor::Zstd, 2), &missing);
    assert!(result.unwrap_err().to_string().contains("no/such"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_files_come_back(
        list in proptest::collection::vec((0_u64..4, 0_usize..20_000, any::<bool>()), 0..40),
        threads in 1_usize..5,
        compressor in 0_u32..3,
    ) {
        let source = tempfile::tempdir().unwrap();
        for (n, (seed, len, dull)) in list.iter().enumerate() {
            let bytes = if *dull { vec![b'x'; *len] } else { noise(*seed, *len) };
            fs::write(source.path().join(n.to_string()), bytes).unwrap();
        }
        let compressor = [Compressor::None, Compressor::Lz4, Compressor::Zstd][usize::try_from(compressor).unwrap()];
        let (tree, packed, out) = build(source.path(), &options(compressor, threads), &NoDict);
        check(&tree, &packed, out.path());
    }
}
