//! The host's kernel reads a file system in memory through `/dev/fuse`.
//! Needs root; without `/dev/fuse` there is nothing to prove.
#![allow(clippy::unwrap_used, reason = "a failure ends the test")]

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use tidegate::fusedev::{MountOptions, Mounted, mount};
use tidegate::{destination, fs as fs_api};

mod memory_fs;

use memory_fs::{MemoryFs, SIZE, content};

fn mounted(dir: &Path) -> Option<(Arc<MemoryFs>, Mounted)> {
    if !Path::new("/dev/fuse").exists() || !rustix::process::geteuid().is_root() {
        return None;
    }
    let fs = Arc::new(MemoryFs::new());
    let mounted = mount(dir, fs.clone(), MountOptions::default()).unwrap();
    Some((fs, mounted))
}

#[test]
fn mounted_files_read_as_they_are_and_unmount_ends_the_wait() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_fs, mounted)) = mounted(dir.path()) else {
        return;
    };
    assert_eq!(fs::read(dir.path().join("hello")).unwrap(), content());
    assert_eq!(fs::read(dir.path().join("link")).unwrap(), content());
    assert_eq!(
        fs::read_link(dir.path().join("link")).unwrap(),
        Path::new("hello")
    );
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["hello", "link", "slow"]);
    let meta = fs::metadata(dir.path().join("hello")).unwrap();
    assert_eq!((meta.size(), meta.mtime()), (SIZE as u64, -7));
    assert_eq!((meta.uid(), meta.gid(), meta.blksize()), (10, 20, 4096));
    let refused = fs::write(dir.path().join("new"), b"x").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));

    mounted.unmount().unwrap();
    mounted.wait();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    mounted.unmount().unwrap();
}

#[test]
fn slow_read_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let Some((fs, mounted)) = mounted(dir.path()) else {
        return;
    };
    // More readers than threads, all of which wait.
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let path = dir.path().join("slow");
            thread::spawn(move || fs::read(path).unwrap())
        })
        .collect();
    assert_eq!(fs::read(dir.path().join("hello")).unwrap(), content());
    fs.release(1000);
    for reader in readers {
        assert_eq!(reader.join().unwrap(), content());
    }
    mounted.unmount().unwrap();
}

#[test]
fn busy_mount_is_detached_and_served_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_fs, mounted)) = mounted(dir.path()) else {
        return;
    };
    let mut file = fs::File::open(dir.path().join("hello")).unwrap();
    mounted.unmount().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let mut data = Vec::new();
    file.read_to_end(&mut data).unwrap();
    assert_eq!(data, content());
    drop(file);
    mounted.wait();
}

#[test]
fn missing_mountpoint_is_named() {
    let fs = Arc::new(MemoryFs::new());
    let path = Path::new("/nonexistent/tidegate");
    let error = mount(path, fs, MountOptions::default()).err().unwrap();
    assert!(error.to_string().contains("/nonexistent/tidegate"));
}
