//! What an image that lies cannot do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod images;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use images::{build, look, small_chunks};
use tidegate::backend::directory::DirectoryBackend;
use tidegate::image::{Image, Pin};
use tidegate::store::{Store, StoreConfig};
use tidegate::unpack::{UnpackError, directory};

/// The only place of `what` in `bytes`.
fn only(bytes: &[u8], what: &[u8]) -> usize {
    let mut places =
        (0..bytes.len() - what.len()).filter(|&at| bytes[at..at + what.len()] == *what);
    let found = places.next().unwrap();
    assert_eq!(places.next(), None);
    found
}

/// A link and a directory of one name, in two blocks of a directory: unpacked
/// one after the other, files would be written where the link leads.
#[test]
fn a_link_that_stands_for_a_directory_does_not_lead_unpack_outside() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, outside) = (temp.path().join("tree"), temp.path().join("outside"));
    fs::create_dir_all(&outside).unwrap();
    let name = |letter: char| format!("{letter}{}", "x".repeat(200));
    fs::create_dir_all(tree.join(name('z'))).unwrap();
    fs::write(tree.join(name('z')).join("loot"), b"written").unwrap();
    for letter in 'b'..'z' {
        fs::write(tree.join(name(letter)), b"").unwrap();
    }
    symlink(&outside, tree.join(name('a'))).unwrap();
    let built = build(&tree, &temp.path().join("out"), &small_chunks(), &[]);

    let mut bytes = fs::read(&built.bootstrap).unwrap();
    let at = only(&bytes, name('z').as_bytes());
    bytes[at] = b'a';
    // Without its trailer the image has no section, so nothing notices.
    let end = bytes.len() - 128;
    bytes[end..].fill(0);
    fs::write(&built.bootstrap, &bytes).unwrap();

    let image = Image::open(&built.bootstrap, Pin::default()).unwrap();
    assert!(look(&image).1 > 0, "the fault is seen");
    let backend = Arc::new(DirectoryBackend::new(built.blobs));
    let store = Store::open(StoreConfig::default(), backend, image.blobs().to_vec()).unwrap();
    let unpacked = directory::unpack(&image, &store, &temp.path().join("target"));
    assert!(
        matches!(unpacked, Err(UnpackError::Image { .. })),
        "{unpacked:?}"
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}
