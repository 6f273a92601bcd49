//! What a guest sees is the tree that the image was made of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::frontend::{Config, Cut, Regions, Wait};
use support::image::Image;
use support::mount::{self, HostMount};
use support::target::Target;
use support::{image, manifest, tree};

/// Fails with the first differences between the source and a directory.
fn assert_same_directory(image: &Image, found: &Path) {
    let expected = manifest::of_directory(&image.source()).unwrap();
    let found = manifest::of_directory(found).unwrap();
    assert!(expected.len() > 100);
    if let Some(text) = manifest::difference(&expected, &found) {
        panic!("{text}");
    }
}

/// Runs `tidegate unpack` on an image.
fn unpack(image: &Image, to: &[OsString]) {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("unpack")
        .args(image.arguments())
        .args(to)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
}

#[test]
fn odd_tree_is_served_as_it_is() {
    let mut target = Target::new(tree::odd, &[]);
    let mut session = target.mount(&Config::default());
    manifest::assert_same(&target.image.source(), &mut session);
}

#[test]
fn file_is_the_same_however_the_guest_lays_its_buffers() {
    let mut target = Target::new(image::fill_small, &[]);
    let base = Config {
        reply_max: 128 << 10,
        depth: 2,
        ..Config::default()
    };
    let shapes = [
        base.clone(),
        Config {
            cut: Cut::Whole,
            ..base.clone()
        },
        Config {
            indirect: false,
            ..base.clone()
        },
        Config {
            event_index: false,
            ..base.clone()
        },
        Config {
            regions: Regions::Touching,
            ..base.clone()
        },
        Config {
            regions: Regions::Apart,
            ..base.clone()
        },
        Config {
            wait: Wait::Spin,
            ..base.clone()
        },
        Config {
            queue_size: 128,
            ..base.clone()
        },
    ];
    let expected: Vec<u8> = (0..image::FILE_LEN).map(image::file_byte).collect();
    for shape in shapes {
        let mut session = target.mount(&shape);
        let node = session.resolve(image::FILE).unwrap();
        let handle = session.open(node).unwrap();
        let found = session.read(node, handle, 0, image::FILE_LEN + 1).unwrap();
        assert!(found == expected, "{shape:?}");
        let tail = session.read(node, handle, 299_990, 100).unwrap();
        assert_eq!(tail, expected[299_990..], "{shape:?}");
    }
}

#[test]
fn listings_and_lookups_agree() {
    let mut target = Target::new(tree::odd_small, &[]);
    let mut session = target.mount(&Config::default());
    let node = session.resolve("names").unwrap();
    let plain = session.list(node, false).unwrap();
    let plus = session.list(node, true).unwrap();
    assert!(plain.len() > 10);
    assert_eq!(plain.len(), plus.len());
    for (plain, plus) in plain.iter().zip(&plus) {
        assert_eq!(
            (&plain.name, plain.inode, plain.kind),
            (&plus.name, plus.inode, plus.kind)
        );
        let found = session.lookup(node, &plain.name).unwrap();
        let listed = plus.entry.unwrap();
        assert_eq!(
            (found.node, found.attributes),
            (listed.node, listed.attributes)
        );
    }
}

#[test]
fn queue_goes_on_where_it_was_stopped() {
    let mut target = Target::new(image::fill_small, &[]);
    let mut session = target.mount(&Config::default());
    for _ in 0..3 {
        let node = session.resolve("hello").unwrap();
        let handle = session.open(node).unwrap();
        assert_eq!(
            session.read(node, handle, 0, 100).unwrap(),
            b"hello, guest\n"
        );
        let base = session.frontend.stop(1).unwrap();
        assert_eq!(base, session.frontend.queues[1].ring.avail_index);
        session.frontend.start(1, base).unwrap();
    }
}

#[test]
fn odd_tree_is_mounted_as_it_is() {
    if !mount::is_possible() {
        return;
    }
    let image = image::build(tree::odd, &[]).unwrap();
    let mounted = HostMount::new(&image.arguments()).unwrap();
    assert_same_directory(&image, &mounted.path());
}

#[test]
fn odd_tree_is_unpacked_as_it_is() {
    let image = image::build(tree::odd_small, &["--chunk-size", "4KiB"]).unwrap();
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("unpacked");
    unpack(&image, &[target.clone().into()]);
    assert_same_directory(&image, &target);
}

#[test]
fn odd_tree_comes_back_out_of_an_archive_as_it_is() {
    let without_socket = |root: &Path| {
        tree::odd_small(root)?;
        fs::remove_file(root.join("specials/socket"))
    };
    let image = image::build(without_socket, &[]).unwrap();
    let home = tempfile::tempdir().unwrap();
    let archive = home.path().join("image.tar");
    unpack(&image, &["--tar".into(), archive.clone().into()]);
    let target = home.path().join("extracted");
    fs::create_dir(&target).unwrap();
    let tar = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner"])
        .args(["--extract", "--preserve-permissions", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(&target)
        .status()
        .unwrap();
    assert!(tar.success());
    assert_same_directory(&image, &target);
}

#[test]
fn archive_and_directory_of_one_tree_have_one_root_and_are_served_alike() {
    let packed = image::build_from_tar(tree::odd_for_tar, &["--compressor", "lz4"]).unwrap();
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("build")
        .arg(packed.source())
        .arg("--output")
        .arg(home.path())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.trim(), format!("root {}", packed.root().unwrap()));
    let mut daemon = packed.serve(&["--root", &packed.root().unwrap()]).unwrap();
    let mut session = daemon.mount(&Config::default()).unwrap();
    manifest::assert_same(&packed.source(), &mut session);
    drop(session);
    daemon
        .terminate(std::time::Duration::from_secs(10))
        .unwrap();
}
