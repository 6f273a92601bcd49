//! A second implementation, written from `docs/format.md`, reads what the first
//! builds and finds the same root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::FileExt as _;
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
fn hints_are_what_the_format_says() {
    let home = tempfile::tempdir().unwrap();
    let trace = home.path().join("trace");
    fs::write(
        &trace,
        "9 /data/noise\n2 /data/noise\n0 /hello\n3 /data/noise\n",
    )
    .unwrap();
    let dict = image::build(image::fill_small, &["--chunk-size", "4KiB"]).unwrap();
    let dict = dict.bootstrap();
    // The file of the dict, but for a chunk.
    let fill = |root: &Path| {
        image::fill_small(root)?;
        let file = fs::OpenOptions::new()
            .write(true)
            .open(root.join(image::FILE))?;
        file.write_all_at(b"another chunk", 5 * 4096)
    };
    let (trace, dict) = (trace.to_str().unwrap(), dict.to_str().unwrap());
    for options in [
        &["--trace", trace][..],
        &["--trace", trace, "--chunk-dict", dict],
    ] {
        let options = [&["--chunk-size", "4KiB"][..], options].concat();
        let image = image::build(fill, &options).unwrap();
        assert_sound(&check(&image, &[]));
        // One that tells of other chunks is noticed.
        let file = fs::File::options()
            .write(true)
            .open(image.bootstrap())
            .unwrap();
        let trailer = file.metadata().unwrap().len() - 128;
        file.write_all_at(&16_u64.to_le_bytes(), trailer + 96)
            .unwrap();
        assert!(!check(&image, &[]).status.success());
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
