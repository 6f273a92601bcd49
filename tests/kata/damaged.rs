//! Images that are damaged: a mount is refused, or reads fail; never wrong bytes.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::clients::{Answer, Client};
use crate::rig::{api, body, config, start};
use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::image::{self, FILE, FILE_LEN, Image, file_byte};
use crate::support::session::Session;

const AT: &str = "/rafs/1/lowerdir";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/v5")
        .join(name)
}

/// The body that mounts a bootstrap whose blobs are in a directory.
fn rafs(daemon: &Daemon, bootstrap: &Path, blobs: &Path, root: Option<&str>) -> String {
    let mut config = json!({
        "device": {
            "backend": {"type": "localfs", "config": {"dir": blobs}},
            "cache": {"type": "blobcache", "config": {"work_dir": daemon.work().join("cache")}},
        },
        "mode": "direct",
        "fs_prefetch": {"enable": false},
    });
    if let Some(root) = root {
        config["root"] = json!(root);
    }
    body(bootstrap, &config)
}

/// Check 10.
#[test]
fn an_image_of_rafs_v5_is_mounted_and_right() {
    let daemon = start(&[]);
    let body = rafs(&daemon, &data("lz4/bootstrap"), &data("lz4/blobs"), None);
    let answer = Client::Rust.mount(&api(&daemon), AT, &body);
    assert_eq!(answer.status, 204, "{answer:?}");
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let file = guest.resolve(&format!("{AT}/other name")).unwrap();
    let text = guest.read(file, 0, 0, 100).unwrap();
    assert!(text.starts_with(b"some bytes"), "{text:?}");
    assert_eq!(Client::Go.unmount(&api(&daemon), AT).status, 204);
    // Nor is any data needed to mount one.
    let daemon = start(&[]);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let body = rafs(&daemon, &data("lz4/bootstrap"), empty.path(), None);
    let answer = Client::Go.mount(&api(&daemon), AT, &body);
    assert_eq!(answer.status, 204, "{answer:?}");
    let file = guest.resolve(&format!("{AT}/other name")).unwrap();
    let lost = guest.read(file, 0, 0, 100).unwrap_err();
    assert_eq!(lost.errno(), Some(libc::EIO));
}

/// Reads the file of a small image: right, or an error.
fn right_or_error(guest: &mut Session) -> bool {
    let Ok(file) = guest.resolve(&format!("{AT}/{FILE}")) else {
        return false;
    };
    let mut right = true;
    for offset in (0..FILE_LEN).step_by(50_000) {
        match guest.read(file, 0, offset as u64, 50_000) {
            Ok(bytes) => {
                let wrong = (offset..)
                    .zip(&bytes)
                    .find(|&(at, &byte)| byte != file_byte(at));
                assert_eq!(wrong, None, "a wrong byte");
                // A damaged size may end it early only where nothing is pinned.
                assert_eq!(bytes.len(), 50_000.min(FILE_LEN - offset));
            }
            Err(failure) => {
                assert_eq!(failure.errno(), Some(libc::EIO));
                right = false;
            }
        }
    }
    right
}

/// A copy of an image's files.
fn copy(image: &Image, to: &Path) -> (PathBuf, PathBuf) {
    let blobs = to.join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    for blob in fs::read_dir(image.blobs()).unwrap() {
        let blob = blob.unwrap();
        fs::copy(blob.path(), blobs.join(blob.file_name())).unwrap();
    }
    let bootstrap = to.join("image.boot");
    fs::copy(image.bootstrap(), &bootstrap).unwrap();
    (bootstrap, blobs)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => waiting.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

/// Check 35, the blob and the bootstrap.
#[test]
fn flipped_bits_refuse_a_mount_or_fail_a_read() {
    let image = image::build(image::fill_small, &["--chunk-size", "64KiB"]).unwrap();
    let root = image.root().unwrap();
    let daemon = start(&[]);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let (mut refused, mut failed, mut fine) = (0, 0, 0);
    for round in 0..45 {
        let place = home.path().join(round.to_string());
        let (bootstrap, blobs) = copy(&image, &place);
        // A place that is spread over the whole file.
        let at = round * 7919 * 131;
        match round % 3 {
            0 => flip(&files(&blobs)[0], at),
            1 => flip(&bootstrap, at),
            // The superblock, which is 1024 bytes from the beginning.
            _ => flip(&bootstrap, 1024 + 3 * round),
        }
        // A cache of its own, since one that is right already repairs everything.
        let mut config = config(&image, &place.join("cache"));
        config["device"]["backend"]["config"]["dir"] = json!(blobs);
        config["root"] = json!(root);
        let answer: Answer = Client::Go.mount(&api(&daemon), AT, &body(&bootstrap, &config));
        if answer.status != 204 {
            assert_eq!(answer.status, 500);
            assert!(!answer.message().is_empty());
            refused += 1;
            continue;
        }
        if right_or_error(&mut guest) {
            fine += 1;
        } else {
            failed += 1;
        }
        assert_eq!(Client::Go.unmount(&api(&daemon), AT).status, 204);
    }
    println!("{refused} mounts refused, {failed} reads failed, {fine} read whole and right");
    assert!(refused > 0 && failed > 0, "{refused} {failed} {fine}");
}

/// Check 35, the cache.
#[test]
fn an_altered_cache_is_repaired_under_an_image_of_the_api() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    let text = rafs(&daemon, &image.bootstrap(), &image.blobs(), None);
    assert_eq!(Client::Go.mount(&api(&daemon), AT, &text).status, 204);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    assert!(right_or_error(&mut guest));
    for _ in 0..5 {
        for file in files(&daemon.work().join("cache")) {
            // The data, which is the largest; what else is there are hints.
            let len = fs::metadata(&file).map_or(0, |meta| meta.len());
            if len < FILE_LEN as u64 {
                continue;
            }
            for at in (0..len).step_by(4096) {
                use std::os::unix::fs::FileExt as _;
                let open = fs::OpenOptions::new().read(true).write(true).open(&file);
                let (open, mut byte) = (open.unwrap(), [0]);
                open.read_exact_at(&mut byte, at).unwrap();
                open.write_all_at(&[byte[0] ^ 1], at).unwrap();
            }
        }
        assert!(right_or_error(&mut guest), "the source is right");
    }
    assert!(daemon.counters().unwrap()["proof_failures_cache"].as_u64() > Some(0));
}
