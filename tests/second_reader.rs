//! A second implementation, written from `docs/format.md`, reads what the first
//! builds and finds the same root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::image::Image;
use support::{image, manifest, tree};

/// Runs the checker on an image.
fn check(image: &Image, options: &[&str]) -> Output {
    Command::new("python3")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/check_image.py"
        ))
        .arg(image.bootstrap())
        .args(["--root", &image.root().unwrap()])
        .args(options)
        .output()
        .unwrap()
}

fn assert_sound(output: &Output) {
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
}

/// The odd tree, with a file and a directory whose lists have levels.
fn odd_with_long_lists(root: &Path) -> std::io::Result<()> {
    tree::odd(root)?;
    fs::write(root.join("long"), image::noise(5, 130 * 4096))
}

#[test]
fn every_hash_and_every_attribute_is_the_same() {
    let image = image::build(
        odd_with_long_lists,
        &["--chunk-size", "4KiB", "--compressor", "none"],
    )
    .unwrap();
    let blobs = image.blobs();
    let output = check(&image, &["--manifest", "--blobs", blobs.to_str().unwrap()]);
    assert_sound(&output);
    let found: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let expected = manifest::of_directory(&image.source()).unwrap();
    assert!(expected.len() > 3000);
    if let Some(text) = manifest::difference(&expected, &found) {
        panic!("{text}");
    }
}

#[test]
fn other_chunk_sizes_and_digests_are_the_same_too() {
    for options in [&["--digest", "blake3"][..], &["--compressor", "lz4"]] {
        let image = image::build(tree::odd_small, options).unwrap();
        assert_sound(&check(&image, &[]));
    }
}

#[test]
fn a_changed_byte_of_a_name_is_noticed() {
    let image = image::build(image::fill_small, &[]).unwrap();
    let mut bytes = fs::read(image.bootstrap()).unwrap();
    let name = fs::read_dir(image.source())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    let name = name.as_encoded_bytes();
    let at = bytes
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    bytes[at] ^= 1;
    fs::write(image.bootstrap(), bytes).unwrap();
    assert!(!check(&image, &[]).status.success());
}
