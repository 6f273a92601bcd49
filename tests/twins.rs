//! Directories that are alike are still different places.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod images;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;

use images::{build, small_chunks};
use tidegate::backend::directory::DirectoryBackend;
use tidegate::fs::walk;
use tidegate::unpack;

#[test]
fn copies_of_a_large_directory_keep_their_own_inodes() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir_all(tree.join("x/sub")).unwrap();
    for number in 0..300 {
        fs::write(tree.join(format!("x/f{number}")), b"same").unwrap();
    }
    fs::write(tree.join("x/sub/inner"), b"inner").unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .arg(tree.join("x"))
        .arg(tree.join("y"))
        .status();
    assert!(copied.unwrap().success());
    let built = build(&tree, &temp.path().join("out"), &small_chunks(), &[]);
    let image = built.open();
    let (seen, faults) = images::look(&image);
    assert_eq!((seen.len(), faults), (1 + 2 * 303, 0));
    for path in ["f7", "sub", "sub/inner"] {
        let in_x = walk::find(&image, format!("x/{path}").as_bytes()).unwrap();
        let in_y = walk::find(&image, format!("y/{path}").as_bytes()).unwrap();
        assert_ne!(in_x.nid, in_y.nid, "{path}");
    }
}

#[test]
fn unpacked_trees_have_the_links_of_the_source() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    images::small_tree(&tree);
    let built = build(&tree, &temp.path().join("out"), &small_chunks(), &[]);
    let image = built.open();
    let backend = Arc::new(DirectoryBackend::new(built.blobs.clone()));
    let store = tidegate::store::Store::open(Default::default(), backend, image.blobs().to_vec());
    let target = temp.path().join("target");
    unpack::directory::unpack(&image, &store.unwrap(), &target).unwrap();
    let inode = |name: &str| fs::symlink_metadata(target.join(name)).unwrap().ino();
    assert_eq!(inode("dir/file"), inode("other name"));
    assert_eq!(inode("link"), inode("dir/same link"));
    assert_eq!(
        fs::read(target.join("chunks")).unwrap(),
        images::noise(10_000)
    );
    let again = unpack::directory::unpack(
        &image,
        &tidegate::store::Store::open(
            Default::default(),
            Arc::new(DirectoryBackend::new(built.blobs)),
            image.blobs().to_vec(),
        )
        .unwrap(),
        &target,
    );
    assert!(again.is_err(), "a directory that is not empty is refused");
}
