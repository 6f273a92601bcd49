//! What is left of layers: blobs, and records for the next build.

use std::fs;
use std::path::Path;

use super::super::*;
use super::archive::{dir, entry, file, layer, link, text};
use super::rig::{build, listing, options, sha256, try_build};
use crate::build::options::BuildOptions;
use crate::build::pack::{ChunkDict, Dict, NoDict};
use crate::chunk::{Compressor, Digest};

#[test]
fn only_blobs_with_final_data_are_kept_and_duplicates_stay_below() {
    let (one, two) = (text(0, 2000), text(5000, 9000));
    let built = build(&[
        layer(&[file("gone", &text(20_000, 22_000))]),
        layer(&[file("a", &one)]),
        layer(&[file("copy", &one), entry(b".wh.gone", b'0', b"", b"")]),
        layer(&[file("b", &two), file("copy2", &one)]),
    ]);
    let used: Vec<_> = built.merged.packed.blobs.iter().map(|it| &it.id).collect();
    assert_eq!(
        used,
        [&built.reports[1].blobs[0], &built.reports[3].blobs[0]]
    );
    assert_eq!(built.blobs().len(), 2);
    let statistics = built.merged.packed.statistics;
    assert_eq!(statistics.bytes, (3 * one.len() + two.len()) as u64);
    assert_eq!(statistics.unique_bytes, (one.len() + two.len()) as u64);
    // The layer's blob is what it is, whatever lies below it.
    let alone = build(&[layer(&[file("b", &two), file("copy2", &one)])]);
    assert_eq!(alone.reports[0].blobs, built.reports[3].blobs);
}

#[test]
fn known_layers_are_not_read_and_give_the_same_image() {
    let cache = tempfile::tempdir().unwrap();
    let layers = [
        layer(&[file("a", &text(0, 3000)), dir("d"), file("d/x", "1")]),
        layer(&[
            file("b", &text(9000, 9100)),
            entry(b"d/.wh.x", b'0', b"", b""),
        ]),
    ];
    let dict = || (&NoDict as &dyn Dict, DictId::default());
    let first = try_build(&layers, &options(), dict(), Some(cache.path())).unwrap();
    let again = try_build(&layers, &options(), dict(), Some(cache.path())).unwrap();
    assert_eq!((first.read, again.read), (2, 0));
    assert!(again.reports.iter().all(|report| report.reused));
    let bare = build(&layers);
    for other in [&again, &bare] {
        assert_eq!(other.merged.packed, first.merged.packed);
        assert_eq!(other.blobs(), first.blobs());
        assert_eq!(
            listing(&other.merged.tree, &other.merged.packed.chunks),
            listing(&first.merged.tree, &first.merged.packed.chunks)
        );
    }
    // Other options are another layer; so is one whose blob or record is gone.
    let lz4 = BuildOptions {
        compressor: Compressor::Lz4,
        ..options()
    };
    let other = try_build(&layers, &lz4, dict(), Some(cache.path())).unwrap();
    assert_eq!(other.read, 2);
    fs::remove_file(cache.path().join("blobs").join(&first.reports[1].blobs[0])).unwrap();
    let key = layer_key(&sha256(&layers[0]), &options(), &DictId::default());
    let record = cache.path().join("layers").join(key.to_string());
    let mut bytes = fs::read(&record).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&record, bytes).unwrap();
    let other = try_build(&layers, &options(), dict(), Some(cache.path())).unwrap();
    assert_eq!(other.read, 2);
    assert_eq!(other.merged.packed, first.merged.packed);
}

#[test]
fn chunks_of_a_dict_are_not_written_again() {
    let (one, two) = (text(0, 2000), text(5000, 9000));
    let base = build(&[layer(&[file("a", &one)])]);
    let packed = &base.merged.packed;
    let blobs = vec![(packed.blobs[0].clone(), packed.chunks.clone())];
    let dict = ChunkDict::new(blobs, options().algorithm);
    let cache = tempfile::tempdir().unwrap();
    let layers = [layer(&[file("x", &one), file("y", &two)])];
    for read in [1, 0] {
        let id = DictId(Digest([1; 32]));
        let built = try_build(&layers, &options(), (&dict, id), Some(cache.path())).unwrap();
        assert_eq!(built.read, read);
        let found = &built.merged.packed;
        assert_eq!(found.blobs.len(), 2);
        assert!(!found.blobs[0].dict && found.blobs[1].dict);
        assert_eq!(found.blobs[1].id, packed.blobs[0].id);
        assert_eq!(found.statistics.unique_bytes, two.len() as u64);
        assert_eq!(built.blobs().len(), 1);
    }
}

#[test]
fn damaged_records_are_refused_without_panic() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("record");
    let record = fs::File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let places = LayerPlaces {
        blobs: place.path(),
        record: (&record, &path),
    };
    let bytes = layer(&[file("a", &text(0, 3000)), dir("d"), link("b", "a")]);
    let digest = sha256(&bytes);
    let image = convert("layer", digest, &bytes[..], &NoDict, &options(), &places).unwrap();
    assert_eq!((image.layer(), image.entries()), (digest, 3));
    assert!(merge(&[image], &options()).is_ok());
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(LayerImage::open(&path).is_err(), "{cut}");
    }
    for at in 0..whole.len() - 32 {
        let mut mutant = whole.clone();
        mutant[at] ^= 0x15;
        // Somebody who wants to be believed.
        let (body, end) = mutant.split_at_mut(whole.len() - 32);
        end.copy_from_slice(&sha256(body).0);
        fs::write(&path, &mutant).unwrap();
        if let Ok(image) = LayerImage::open(&path) {
            let _ = merge(&[image], &options());
        }
    }
}

#[test]
fn a_layer_that_ends_with_an_error_leaves_no_blob() {
    struct Failing(std::io::Cursor<Vec<u8>>);
    impl std::io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(std::io::Error::other("its SHA-256 is another")),
                got => Ok(got),
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let record = tempfile::tempfile().unwrap();
    let places = LayerPlaces {
        blobs: dir.path(),
        record: (&record, Path::new("record")),
    };
    let bytes = layer(&[file("a", &text(0, 3000))]);
    let input = Failing(std::io::Cursor::new(bytes));
    let error = convert(
        "layer x",
        Digest::default(),
        input,
        &NoDict,
        &options(),
        &places,
    );
    let error = error.unwrap_err();
    assert!(error.to_string().contains("layer x"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
