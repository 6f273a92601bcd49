//! A proof of one file is checked without the image, and nothing of it can be
//! altered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../images/mod.rs"]
mod images;

mod altered;
mod command;
mod source;

use images::{build, look, small_chunks};
use source::Tree;
use tidegate::chunk::Digest;
use tidegate::image::witness::document::Content;
use tidegate::image::witness::{Proved, WitnessError, check, prove};

#[test]
fn every_name_of_a_tree_is_proved_without_the_image() {
    let tree = Tree::new();
    let built = build(&tree.archive(), &tree.path("out"), &small_chunks(), &[]);
    let image = built.open();
    let (seen, faults) = look(&image);
    assert_eq!(faults, 0);
    let mut proofs = Vec::new();
    for path in seen.keys().filter(|path| source::is_of_interest(path)) {
        let proof = serde_json::to_vec(&prove(&image, path).unwrap()).unwrap();
        proofs.push((path, proof));
    }
    assert!(proofs.len() > 20, "{}", proofs.len());
    drop(image);
    std::fs::remove_dir_all(tree.path("out")).unwrap();
    for (path, proof) in proofs {
        let proved = check(&proof, Some(built.root)).unwrap();
        assert_eq!((&proved.path, proved.root), (path, built.root));
        let node = &proved.node;
        let attr = &seen[path].attr;
        assert_eq!(node.content.file_type(), attr.file_type);
        let attributes = &node.attributes;
        assert_eq!(attributes.mode.0, attr.mode);
        assert_eq!((attributes.uid, attributes.gid), (attr.uid, attr.gid));
        assert_eq!(attributes.mtime, attr.mtime);
        let xattrs = attributes.xattrs.iter();
        let xattrs: Vec<_> = xattrs
            .map(|(name, value)| (name.0.clone(), value.0.clone()))
            .collect();
        assert_eq!(xattrs, seen[path].xattrs);
        match &node.content {
            Content::File { size, nlink, .. } => {
                assert_eq!((*size, *nlink), (attr.size, attr.nlink));
                compares_only_with_its_bytes(&proved, &tree.bytes(path));
            }
            Content::Symlink { target, .. } => {
                assert_eq!(Some(&target.0), seen[path].target.as_ref());
            }
            Content::CharDevice { rdev, .. } | Content::BlockDevice { rdev, .. } => {
                assert_eq!(*rdev, attr.rdev);
            }
            Content::Directory { list, .. } => {
                assert_eq!(list.directories + 2, u64::from(attr.nlink));
            }
            _ => {}
        }
        let other = check(&proof, Some(Digest([1; 32])));
        assert!(matches!(other, Err(WitnessError::Root { .. })), "{other:?}");
    }
}

fn compares_only_with_its_bytes(proved: &Proved, bytes: &[u8]) {
    proved.compare(&mut &bytes[..]).unwrap();
    let longer = [bytes, b"\0"].concat();
    proved.compare(&mut &longer[..]).unwrap_err();
    if let Some((last, before)) = bytes.split_last() {
        proved.compare(&mut &before[..]).unwrap_err();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut other = bytes.to_vec();
            other[at] ^= 0x40;
            proved.compare(&mut &other[..]).unwrap_err();
        }
        let other = [before, &[last ^ 1]].concat();
        proved.compare(&mut &other[..]).unwrap_err();
    }
}

#[test]
fn what_is_not_there_cannot_be_proved() {
    let tree = Tree::new();
    let built = build(&tree.archive(), &tree.path("out"), &small_chunks(), &[]);
    let image = built.open();
    for path in ["nothing like it", "many/00000x", "empty/x", "link/x"] {
        let error = prove(&image, path.as_bytes()).unwrap_err();
        assert!(matches!(error, WitnessError::NotFound { .. }), "{error}");
    }
}
