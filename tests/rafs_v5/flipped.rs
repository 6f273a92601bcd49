//! Flipped bits of a bootstrap: what the digests of the format cover is right
//! or an error; a pinned bootstrap is refused whatever is flipped.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use tidegate::fs::walk;
use tidegate::image::{Image, Pin};

use crate::images;
use crate::rig::Fixture;

#[test]
fn flipped_bits_do_not_change_what_digests_cover() {
    let fixture = Fixture::copy("lz4");
    let (truth, faults) = images::look(&fixture.open());
    assert_eq!((truth.len(), faults), (321, 0));
    let original = fs::read(&fixture.bootstrap).unwrap();
    let file = OpenOptions::new()
        .write(true)
        .open(&fixture.bootstrap)
        .unwrap();
    let (mut refused, mut faulty, mut unnoticed) = (0, 0, 0);
    for (at, number) in (0..original.len()).step_by(61).zip(0..) {
        let flipped = original[at] ^ (1 << (number % 8));
        file.write_all_at(&[flipped], at as u64).unwrap();
        match Image::open(&fixture.bootstrap, Pin::default()) {
            Err(error) => {
                assert!(error.to_string().contains("bootstrap"), "{error}");
                refused += 1;
            }
            Ok(image) => {
                let (found, faults) = images::look(&image);
                for (path, seen) in &found {
                    // Names are not covered: one that is new is no news.
                    let Some(right) = truth.get(path) else {
                        continue;
                    };
                    let place = || format!("byte {at:#x} changed {}", walk::show(path));
                    assert_eq!(seen.target, right.target, "{}", place());
                    assert_eq!(seen.visible().3, right.visible().3, "{}", place());
                }
                match faults {
                    0 => unnoticed += 1,
                    _ => faulty += 1,
                }
            }
        }
        file.write_all_at(&original[at..=at], at as u64).unwrap();
    }
    println!("{refused} refused, {faulty} with faults, {unnoticed} unnoticed");
    assert!(refused > 0 && faulty > 100 && unnoticed > 0);
}

#[test]
fn any_flipped_bit_of_a_pinned_bootstrap_is_refused() {
    let fixture = Fixture::copy("zstd");
    let pin = Pin {
        bootstrap: Some(fixture.digest()),
        require: true,
        ..Pin::default()
    };
    assert!(
        Image::open(&fixture.bootstrap, pin.clone())
            .unwrap()
            .pinned()
    );
    let original = fs::read(&fixture.bootstrap).unwrap();
    let file = OpenOptions::new()
        .write(true)
        .open(&fixture.bootstrap)
        .unwrap();
    for (at, number) in (0..original.len()).step_by(211).zip(0..) {
        let flipped = original[at] ^ (1 << (number % 8));
        file.write_all_at(&[flipped], at as u64).unwrap();
        assert!(
            Image::open(&fixture.bootstrap, pin.clone()).is_err(),
            "byte {at:#x}"
        );
        file.write_all_at(&original[at..=at], at as u64).unwrap();
    }
}
