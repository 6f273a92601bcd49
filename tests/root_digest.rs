//! The root digest depends on what users can see, on all of it, and on nothing
//! else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod images;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use images::{build, look, noise, small_chunks, small_tree};
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};
use tidegate::build::options::BuildOptions;
use tidegate::chunk::{Compressor, Digest, DigestAlgorithm};
use tidegate::image::Image;

fn root_of(tree: &Path) -> Digest {
    let output = tempfile::tempdir().unwrap();
    build(tree, output.path(), &small_chunks(), &[]).root
}

#[test]
fn copies_made_in_another_order_give_identical_files() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, copy) = (temp.path().join("tree"), temp.path().join("copy"));
    small_tree(&tree);
    // Names in reverse order, so that inode numbers and directory order differ.
    let script = format!(
        "cd {} && find . -mindepth 1 -print0 | sort -rz | tar -c --xattrs --null --no-recursion -T - | \
         tar -x --xattrs --xattrs-include='*' -C {}",
        tree.display(),
        copy.display()
    );
    fs::create_dir(&copy).unwrap();
    assert!(
        Command::new("sh")
            .args(["-c", &script])
            .status()
            .unwrap()
            .success()
    );
    let times = fs::metadata(&tree).unwrap().modified().unwrap();
    fs::File::open(&copy).unwrap().set_modified(times).unwrap();
    for (name, file) in [("tree", &tree), ("copy", &copy)] {
        assert!(fs::metadata(file).unwrap().is_dir(), "{name}");
    }
    let strip = |root: &Path| {
        // tar keeps whole seconds by default; make both trees agree.
        let script = format!(
            "find {} -exec touch -h -d @1700000000.123456789 {{}} +",
            root.display()
        );
        assert!(
            Command::new("sh")
                .args(["-c", &script])
                .status()
                .unwrap()
                .success()
        );
    };
    strip(&tree);
    strip(&copy);
    let one = build(
        &tree,
        &temp.path().join("one"),
        &BuildOptions::default(),
        &[],
    );
    let options = BuildOptions {
        threads: 4,
        ..BuildOptions::default()
    };
    let two = build(&copy, &temp.path().join("two"), &options, &[]);
    assert_eq!(one.blob_ids, two.blob_ids);
    assert!(fs::read(&one.bootstrap).unwrap() == fs::read(&two.bootstrap).unwrap());
}

#[test]
fn compressor_and_chunk_dict_do_not_change_the_root() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    small_tree(&tree);
    fs::write(tree.join("text"), "compressible ".repeat(10_000)).unwrap();
    let base = small_chunks();
    let first = build(&tree, &temp.path().join("first"), &base, &[]);
    for compressor in [Compressor::None, Compressor::Lz4] {
        let output = temp.path().join(format!("{compressor:?}"));
        let built = build(&tree, &output, &BuildOptions { compressor, ..base }, &[]);
        assert_eq!(built.root, first.root);
        assert_ne!(built.blob_ids, first.blob_ids);
    }
    let with_dict = build(
        &tree,
        &temp.path().join("dict"),
        &base,
        std::slice::from_ref(&first.bootstrap),
    );
    assert_eq!(with_dict.root, first.root);
    assert_eq!(with_dict.blob_ids, first.blob_ids);
    assert_eq!(
        fs::read_dir(&with_dict.blobs).unwrap().count(),
        0,
        "nothing was written again"
    );
}

#[test]
fn chunk_size_and_chunk_digest_change_the_root() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    small_tree(&tree);
    let base = small_chunks();
    let roots = [
        base,
        BuildOptions {
            chunk_size: 8192,
            ..base
        },
        BuildOptions {
            algorithm: DigestAlgorithm::Blake3,
            ..base
        },
    ]
    .map(|options| {
        let output = tempfile::tempdir().unwrap();
        build(&tree, output.path(), &options, &[]).root
    });
    assert!(roots[0] != roots[1] && roots[1] != roots[2] && roots[0] != roots[2]);
}

#[test]
fn another_pinned_root_and_a_missing_pin_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    small_tree(&tree);
    let built = build(&tree, &temp.path().join("out"), &small_chunks(), &[]);
    let mut pin = built.pin();
    pin.root = Some(Digest([1; 32]));
    let error = Image::open(&built.bootstrap, pin.clone())
        .unwrap_err()
        .to_string();
    assert!(error.contains(&built.root.to_string()), "{error}");
    pin.root = None;
    assert!(Image::open(&built.bootstrap, pin.clone()).is_err());
    pin.require = false;
    let unpinned = Image::open(&built.bootstrap, pin.clone()).unwrap();
    assert!(!unpinned.pinned());
    // The section cut off: still a Nydus image, but not with a pin.
    let bytes = fs::read(&built.bootstrap).unwrap();
    fs::write(&built.bootstrap, &bytes[..bytes.len() - 4096]).unwrap();
    assert!(Image::open(&built.bootstrap, built.pin()).is_err());
    let unproved = Image::open(&built.bootstrap, pin).unwrap();
    assert_eq!(unproved.root_digest(), None);
    assert_eq!(look(&unproved).1, 0);
}

/// A change to a tree that a user could notice.
#[derive(Clone, Debug)]
enum Change {
    Mode(u32),
    Owner(u32),
    Group(u32),
    Seconds(i64),
    Nanoseconds(i64),
    Byte(usize),
    Grow,
    Shrink,
    Rename(String),
    Xattr(String, Vec<u8>),
    Target(String),
    Link(String),
    Remove,
    New(String),
    Directory(String),
}

fn change() -> impl Strategy<Value = Change> {
    let name = "[a-z]{9,12}";
    prop_oneof![
        (0..0o7777u32).prop_map(Change::Mode),
        (1..u32::MAX).prop_map(Change::Owner),
        (1..u32::MAX).prop_map(Change::Group),
        (-5_000_000i64..5_000_000).prop_map(Change::Seconds),
        (0..999_999_999i64).prop_map(Change::Nanoseconds),
        (0..10_000usize).prop_map(Change::Byte),
        Just(Change::Grow),
        Just(Change::Shrink),
        name.prop_map(Change::Rename),
        (name, proptest::collection::vec(any::<u8>(), 0..50))
            .prop_map(|(name, value)| Change::Xattr(name, value)),
        name.prop_map(Change::Target),
        name.prop_map(Change::Link),
        Just(Change::Remove),
        name.prop_map(Change::New),
        name.prop_map(Change::Directory),
    ]
}

/// Applies a change to the tree and hides that it touched the directory's time.
fn apply(tree: &Path, change: &Change) {
    let file = tree.join("chunks");
    let time = |seconds, nanos| {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: nanos,
        };
        Timestamps {
            last_access: time,
            last_modification: time,
        }
    };
    let bytes = noise(10_000);
    match change {
        Change::Mode(mode) => fs::set_permissions(&file, Permissions::from_mode(*mode)).unwrap(),
        Change::Owner(owner) => std::os::unix::fs::chown(&file, Some(*owner), None).unwrap(),
        Change::Group(group) => std::os::unix::fs::chown(&file, None, Some(*group)).unwrap(),
        Change::Seconds(seconds) => {
            utimensat(CWD, &file, &time(*seconds, 0), AtFlags::empty()).unwrap();
        }
        Change::Nanoseconds(nanos) => {
            utimensat(CWD, &file, &time(1, *nanos), AtFlags::empty()).unwrap();
        }
        Change::Byte(at) => {
            let mut bytes = bytes;
            bytes[*at] ^= 1;
            fs::write(&file, bytes).unwrap();
        }
        Change::Grow => fs::write(&file, [&bytes[..], b"\0"].concat()).unwrap(),
        Change::Shrink => fs::write(&file, &bytes[..9_999]).unwrap(),
        Change::Rename(name) => fs::rename(&file, tree.join(name)).unwrap(),
        Change::Xattr(name, value) => {
            lsetxattr(&file, format!("user.{name}"), value, XattrFlags::empty()).unwrap();
        }
        Change::Target(target) => {
            fs::remove_file(tree.join("link")).unwrap();
            symlink(target, tree.join("link")).unwrap();
        }
        Change::Link(name) => fs::hard_link(&file, tree.join(name)).unwrap(),
        Change::Remove => fs::remove_file(tree.join("fifo")).unwrap(),
        Change::New(name) => fs::write(tree.join(name), b"").unwrap(),
        Change::Directory(name) => fs::create_dir(tree.join(name)).unwrap(),
    }
    let touched = matches!(change, Change::Byte(_) | Change::Grow | Change::Shrink);
    if touched {
        utimensat(CWD, &file, &time(1_000, 0), AtFlags::empty()).unwrap();
    }
    if let Change::Target(_) = change {
        let link = tree.join("link");
        utimensat(CWD, &link, &time(1_000, 0), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    utimensat(CWD, tree, &time(1_000, 0), AtFlags::empty()).unwrap();
}

fn fixed_tree(tree: &Path) {
    small_tree(tree);
    let touch = format!("find {} -exec touch -h -d @1000 {{}} +", tree.display());
    assert!(
        Command::new("sh")
            .args(["-c", &touch])
            .status()
            .unwrap()
            .success()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_change_changes_the_root(change in change()) {
        let temp = tempfile::tempdir().unwrap();
        let tree = temp.path().join("tree");
        fixed_tree(&tree);
        let before = root_of(&tree);
        prop_assert_eq!(before, root_of(&tree), "the same tree has the same root");
        let owner = fs::metadata(tree.join("chunks")).unwrap();
        apply(&tree, &change);
        // Some draws are what was there already.
        let same = match &change {
            Change::Mode(mode) => owner.permissions().mode() & 0o7777 == *mode,
            Change::Seconds(seconds) => *seconds == 1_000,
            _ => false,
        };
        prop_assert_eq!(before == root_of(&tree), same, "{:?}", change);
    }
}
