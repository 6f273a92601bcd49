//! Whatever bit of a bootstrap is flipped, a pinned image gives an error or the
//! right answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod images;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use images::{Built, Seen, build, look, noise, small_chunks, small_tree};
use tidegate::backend::directory::DirectoryBackend;
use tidegate::fs::walk;
use tidegate::image::Image;
use tidegate::store::{Store, StoreConfig};

/// Flips the given bits one by one in a copy of the bootstrap and checks each.
/// Returns how many flips went unnoticed, which is fine where they mean nothing.
fn flip_each(built: &Built, bits: impl Iterator<Item = u64>) -> (u64, u64) {
    let (truth, faults) = look(&built.open());
    assert_eq!(faults, 0);
    let original = fs::read(&built.bootstrap).unwrap();
    let copy = tempfile::NamedTempFile::new().unwrap();
    fs::write(copy.path(), &original).unwrap();
    let file = OpenOptions::new().write(true).open(copy.path()).unwrap();
    let (mut flips, mut unnoticed) = (0, 0);
    for bit in bits {
        let at = usize::try_from(bit / 8).unwrap();
        let flipped = original[at] ^ (1 << (bit % 8));
        file.write_all_at(&[flipped], at as u64).unwrap();
        flips += 1;
        if let Ok(image) = Image::open(copy.path(), built.pin()) {
            unnoticed += u64::from(check(&image, built, &truth, bit));
        }
        file.write_all_at(&original[at..=at], at as u64).unwrap();
    }
    (flips, unnoticed)
}

/// Whether the image is whole in spite of the flip; panics at a wrong answer.
fn check(image: &Image, built: &Built, truth: &BTreeMap<Vec<u8>, Seen>, bit: u64) -> bool {
    let (found, faults) = look(image);
    for (path, seen) in &found {
        let name = walk::show(path);
        let right = truth
            .get(path)
            .unwrap_or_else(|| panic!("bit {bit} made {name} appear"));
        assert_eq!(seen.visible(), right.visible(), "bit {bit} changed {name}");
        if seen.chunks != right.chunks {
            check_bytes(image, built, path, right, bit);
        }
    }
    let missing = truth.len() - found.len();
    assert!(missing == 0 || faults > 0, "bit {bit} made a name vanish");
    // LOOKUP takes other ways than listing does.
    for path in truth.keys() {
        if let Ok(node) = walk::find(image, path) {
            let seen = images::see(image, &node);
            let visible = seen.as_ref().map(Seen::visible);
            assert!(
                visible.is_none_or(|it| it == truth[path].visible()),
                "bit {bit}"
            );
        }
        match walk::find(image, &[path.as_slice(), b"x"].concat()) {
            Ok(_) => panic!("bit {bit} made a name appear"),
            Err(walk::WalkError::NotFound { .. } | walk::WalkError::Image(_)) => {}
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
    for path in truth.keys() {
        if let Err(walk::WalkError::NotFound { .. }) = walk::find(image, path) {
            panic!("bit {bit} hides {}", walk::show(path));
        }
    }
    faults == 0
}

/// A chunk that lies elsewhere now must give the right bytes or an error.
fn check_bytes(image: &Image, built: &Built, path: &[u8], right: &Seen, bit: u64) {
    let backend = Arc::new(DirectoryBackend::new(built.blobs.clone()));
    let store = Store::open(StoreConfig::default(), backend, image.blobs().to_vec()).unwrap();
    let node = walk::find(image, path).unwrap();
    let mut bytes = Vec::new();
    let read = walk::read_file(image, &store, &node, &mut |part| {
        bytes.extend_from_slice(part);
        Ok(())
    });
    if read.is_ok() {
        let mut rest = &bytes[..];
        for chunk in &right.chunks {
            let (own, others) = rest.split_at(chunk.len as usize);
            let digest = tidegate::chunk::DigestAlgorithm::Sha256.digest(own);
            assert_eq!(digest, chunk.digest, "bit {bit}");
            rest = others;
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn any_flipped_bit_of_a_small_bootstrap_is_an_error_or_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    small_tree(&temp.path().join("tree"));
    let built = build(
        &temp.path().join("tree"),
        &temp.path().join("out"),
        &small_chunks(),
        &[],
    );
    let bits = fs::metadata(&built.bootstrap).unwrap().len() * 8;
    let (flips, unnoticed) = flip_each(&built, 0..bits);
    println!("{flips} flips, {unnoticed} without effect");
    assert_eq!(flips, bits);
    assert!(
        unnoticed < flips,
        "a test in which nothing is noticed tests nothing"
    );
}

/// The same with lists that have levels; one bit of a byte here and there, so
/// that it ends in seconds.
#[test]
fn flipped_bits_in_long_lists_are_errors_or_change_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    small_tree(&tree);
    fs::create_dir(tree.join("many")).unwrap();
    for name in 0..300 {
        fs::write(tree.join(format!("many/{name:0120}")), b"").unwrap();
    }
    fs::write(tree.join("long"), noise(130 * 4096)).unwrap();
    let built = build(&tree, &temp.path().join("out"), &small_chunks(), &[]);
    let bytes = fs::metadata(&built.bootstrap).unwrap().len();
    // A prime, so that no field of a record is passed over for ever.
    let step = 151;
    let bits = (0..bytes)
        .step_by(step)
        .zip(0..)
        .map(|(byte, number)| byte * 8 + number % 8);
    let (flips, unnoticed) = flip_each(&built, bits);
    println!("{flips} flips, {unnoticed} without effect");
    assert!(unnoticed < flips);
}
