//! A disk that is full: on a small tmpfs, which needs root.

use std::path::Path;
use std::process::Command;

use crate::rig::{Rig, count, guest};

/// A mounted file system, gone when dropped.
struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn mount<'a>(options: &[&str], place: &'a Path) -> Option<Mount<'a>> {
    let done = Command::new("mount").args(options).arg(place).output();
    let done = done.is_ok_and(|output| output.status.success());
    done.then_some(Mount(place))
}

/// In CI what a test needs is there.
fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("Skipped: {why}");
}

#[test]
fn a_full_disk_means_memory_and_recovers_without_a_restart() {
    let rig = Rig::new(&(0..16).collect::<Vec<_>>());
    let place = tempfile::tempdir().unwrap();
    let options = ["-t", "tmpfs", "-o", "size=2m", "none"];
    let Some(_mount) = mount(&options, place.path()) else {
        skip("mounting a tmpfs needs root");
        return;
    };
    let daemon = rig.serve_on(place.path(), &[]);
    let mut guest = guest(&daemon);
    rig.check_all(&mut guest, 0);
    rig.check_all(&mut guest, 0);
    assert!(count(&daemon, "cache_write_errors") > 0);
    assert_eq!(daemon.complaints().matches("Cannot keep chunks").count(), 1);
    let grown = Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(place.path())
        .status();
    assert!(grown.unwrap().success());
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        rig.check_all(&mut guest, 0);
        let before = count(&daemon, "misses");
        rig.check_all(&mut guest, 0);
        if count(&daemon, "misses") == before {
            break;
        }
        assert!(std::time::Instant::now() < end, "it is never used again");
        // The daemon tries again when its pause is over.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(daemon.complaints().contains("can be written again"));
}

#[test]
fn chunks_of_other_images_share_their_blocks_where_the_disk_can() {
    let (disk, place) = (
        tempfile::NamedTempFile::new().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    disk.as_file().set_len(400 << 20).unwrap();
    let made = Command::new("mkfs.xfs").arg("-q").arg(disk.path()).output();
    if !made.is_ok_and(|output| output.status.success()) {
        skip("mkfs.xfs is missing (scripts/install-deps test)");
        return;
    }
    let options = ["-o", "loop", disk.path().to_str().unwrap()];
    let Some(_mount) = mount(&options, place.path()) else {
        skip("mounting XFS from a file needs root, loop devices and the kernel's XFS");
        return;
    };
    let first = Rig::new(&(0..40).collect::<Vec<_>>());
    let second = Rig::new(&(4..44).collect::<Vec<_>>());
    let daemon = first.serve_on(place.path(), &[]);
    first.read_until_kept(&daemon);
    let other = second.serve_on(place.path(), &[]);
    second.check_all(&mut guest(&other), 0);
    assert_eq!(count(&other, "copied_chunks"), 36 * 4);
    let blob = std::fs::read_dir(second.image.blobs()).unwrap().next();
    let id = blob.unwrap().unwrap().file_name().into_string().unwrap();
    let files = std::fs::read_dir(place.path().join("tidegate/v1")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let ours = |path: &Path| path.to_string_lossy().contains(&id);
    let data = files.filter(|path| path.extension().is_some_and(|it| it == "data"));
    let shared: u64 = data
        .filter(|path| ours(path))
        .map(|path| shared(&path))
        .sum();
    println!("{shared} of {} bytes are shared", second.size());
    assert!(shared * 10 >= second.size() * 9, "{shared} bytes");
}

/// Bytes of a file whose blocks are another's too, as filefrag tells.
fn shared(path: &Path) -> u64 {
    let told = Command::new("filefrag")
        .args(["-s", "-v"])
        .arg(path)
        .output();
    let told = String::from_utf8(told.unwrap().stdout).unwrap();
    let extents = told.lines().filter(|line| line.contains("shared"));
    let blocks = extents.filter_map(|line| line.split(':').nth(3)?.trim().parse::<u64>().ok());
    blocks.sum::<u64>() * 4096
}
