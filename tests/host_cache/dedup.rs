//! What one image has brought to the host, another does not fetch.

use std::fs;

use crate::rig::{Rig, count, guest};

/// Two images that share nine files of ten.
fn pair() -> (Rig, Rig) {
    let first: Vec<u64> = (0..40).collect();
    let second: Vec<u64> = (4..44).collect();
    (Rig::new(&first), Rig::new(&second))
}

#[test]
fn a_second_image_with_nine_chunks_of_ten_downloads_a_tenth() {
    let (first, second) = pair();
    rig_read(&first, &first);
    let alone = tempfile::tempdir().unwrap();
    let whole = second.serve_on(alone.path(), &[]);
    second.check_all(&mut guest(&whole), 0);
    let whole = count(&whole, "fetched_bytes");
    let daemon = second.serve_on(first.cache(), &[]);
    second.check_all(&mut guest(&daemon), 0);
    let fetched = count(&daemon, "fetched_bytes");
    println!("{fetched} of {whole} bytes fetched");
    assert!(fetched * 100 <= whole * 11, "{fetched} of {whole}");
    assert_eq!(count(&daemon, "copied_chunks"), 36 * 4);
}

#[test]
fn damage_in_the_other_images_cache_is_not_copied() {
    let (first, second) = pair();
    rig_read(&first, &first);
    let data = fs::read_dir(first.dir()).unwrap();
    let data = data.map(|entry| entry.unwrap().path());
    for path in data.filter(|path| path.extension().is_some_and(|it| it == "data")) {
        let mut bytes = fs::read(&path).unwrap();
        (0..bytes.len()).step_by(1000).for_each(|at| bytes[at] ^= 1);
        fs::write(&path, bytes).unwrap();
    }
    let daemon = second.serve_on(first.cache(), &[]);
    second.check_all(&mut guest(&daemon), 0);
    assert_eq!(count(&daemon, "copied_chunks"), 0);
    assert_eq!(
        count(&daemon, "repairs"),
        0,
        "its own cache was never wrong"
    );
}

#[test]
fn hostile_bytes_in_the_index_cost_fetches_only() {
    let (first, second) = pair();
    rig_read(&first, &first);
    let index = first.dir().join("index");
    let right = fs::read(&index).unwrap();
    let mut scrambled = right.clone();
    // Entries that lead to other chunks, and to none.
    for (number, entry) in scrambled.chunks_mut(16).enumerate().skip(256) {
        entry[12] ^= u8::try_from(number % 7).unwrap();
        entry[9] ^= u8::from(number % 5 == 0);
    }
    let mut huge = right.clone();
    huge[8] = 60;
    for bytes in [
        scrambled,
        huge,
        vec![],
        vec![0xff; 9000],
        right[..5000].into(),
    ] {
        fs::write(&index, bytes).unwrap();
        let daemon = second.serve_on(first.cache(), &[]);
        second.check_all(&mut guest(&daemon), 0);
        drop(daemon);
        remove_all_but(&first);
    }
}

/// Fills the cache of `cache` with the image of `rig`.
fn rig_read(rig: &Rig, cache: &Rig) {
    let daemon = rig.serve_on(cache.cache(), &[]);
    rig.read_until_kept(&daemon);
}

/// Forgets what the second image has left in the cache.
fn remove_all_but(first: &Rig) {
    let kept = fs::read_dir(first.image.blobs()).unwrap().next().unwrap();
    let kept = kept.unwrap().file_name();
    for entry in fs::read_dir(first.dir()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.len() > 64 && !name.starts_with(kept.to_str().unwrap()) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}
