//! `nydusd fuse`, as nydus-snapshotter starts it, through the host's kernel.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::mount::UnmountFlags;

use crate::clients::{Client, ask};
use crate::rig::{PROGRAM, assert_done, body, config, until};
use crate::support::frontend::connect_patiently;
use crate::support::image::{self, FILE, FILE_LEN, Image};
use crate::support::mount::is_possible;

struct Mounted {
    child: Child,
    home: tempfile::TempDir,
}

impl Mounted {
    fn new(more: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("mnt")).unwrap();
        let child = Command::new(PROGRAM)
            .args(["nydusd", "fuse", "--log-level", "info", "--thread-num", "2"])
            .args(["--failover-policy", "resend", "--mountpoint"])
            .arg(home.path().join("mnt"))
            .arg("--apisock")
            .arg(home.path().join("api.sock"))
            .args(more)
            .stdin(Stdio::null())
            .stderr(File::create(home.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mounted = Self { child, home };
        connect_patiently(&mounted.api(), Duration::from_secs(20)).unwrap();
        until("it runs", || {
            Client::Go.daemon(&mounted.api()).json()["state"] == "RUNNING"
        });
        mounted
    }

    fn api(&self) -> PathBuf {
        self.home.path().join("api.sock")
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("mnt")
    }

    fn body(&self, image: &Image) -> String {
        let config = config(image, &self.home.path().join("cache"));
        body(&image.bootstrap(), &config)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = rustix::mount::unmount(self.path(), UnmountFlags::DETACH);
    }
}

fn names(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn mounts_come_and_go_under_a_kernel() {
    if !is_possible() {
        println!("SKIPPED: needs root and /dev/fuse");
        return;
    }
    let image = image::small().unwrap();
    let mut mounted = Mounted::new(&[]);
    let (api, path) = (mounted.api(), mounted.path());
    let one = path.join("1/fs");
    assert!(names(&path).is_empty());
    assert!(!one.exists());
    assert_done(&Client::Go.mount(&api, "/1/fs", &mounted.body(&image)));
    assert_eq!(names(&path), ["1"]);
    assert_eq!(fs::read(one.join(FILE)).unwrap().len(), FILE_LEN);
    assert!(!path.join("2").exists());
    assert_done(&Client::Go.mount(&api, "/2/fs", &mounted.body(&image)));
    assert_eq!(names(&path), ["1", "2"]);
    let inodes = ["1/fs", "2/fs", "1", "2", "1/fs/hello", "2/fs/hello"];
    let inodes = inodes.map(|name| fs::metadata(path.join(name)).unwrap().ino());
    let unique: std::collections::HashSet<_> = inodes.into_iter().collect();
    assert_eq!(unique.len(), inodes.len());
    assert_done(&Client::Go.unmount(&api, "/1/fs"));
    assert_eq!(names(&path), ["2"]);
    assert!(!one.exists());
    assert_done(&Client::Go.mount(&api, "/1/fs", &mounted.body(&image)));
    assert_eq!(names(&path), ["1", "2"]);
    assert_eq!(fs::read(one.join("hello")).unwrap(), b"hello, guest\n");

    assert_done(&ask(&api, "PUT", "/api/v1/daemon/exit", ""));
    assert_eq!(mounted.child.wait().unwrap().code(), Some(0));
    assert!(names(&path).is_empty() && !api.exists());
}

#[test]
fn an_open_file_outlives_the_remount_of_its_image() {
    if !is_possible() {
        println!("SKIPPED: needs root and /dev/fuse");
        return;
    }
    let image_of = |text: &'static str| {
        image::build(
            move |root| fs::write(root.join("file"), text.repeat(50_000)),
            &[],
        )
        .unwrap()
    };
    let (old, new) = (image_of("old"), image_of("new"));
    let mounted = Mounted::new(&[]);
    let api = mounted.api();
    assert_done(&Client::Go.mount(&api, "/a", &mounted.body(&old)));
    let at = mounted.path().join("a/file");
    let mut open = File::open(&at).unwrap();
    assert_done(&Client::Go.remount(&api, "/a", &mounted.body(&new)));
    assert_eq!(fs::read_to_string(&at).unwrap(), "new".repeat(50_000));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut open, &mut text).unwrap();
    assert_eq!(text, "old".repeat(50_000));
}

#[test]
fn a_dedicated_daemon_shows_its_image_at_the_mountpoint() {
    if !is_possible() {
        println!("SKIPPED: needs root and /dev/fuse");
        return;
    }
    let image = image::small().unwrap();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.json");
    let text = config(&image, &home.path().join("cache"));
    fs::write(&file, text.to_string()).unwrap();
    let bootstrap = image.bootstrap();
    let mounted = Mounted::new(&[
        "--bootstrap",
        bootstrap.to_str().unwrap(),
        "--config",
        file.to_str().unwrap(),
        "--log-rotation-size",
        "10",
    ]);
    assert_eq!(fs::read(mounted.path().join(FILE)).unwrap().len(), FILE_LEN);
}

/// As nydus-snapshotter asks for it where a container has a user namespace.
#[test]
fn owners_are_shown_under_the_ids_of_a_user_namespace() {
    if !is_possible() {
        println!("SKIPPED: needs root and /dev/fuse");
        return;
    }
    let image = image::build(
        |root| {
            for (name, id) in [("root", 0), ("user", 1000), ("beyond", 70_000)] {
                fs::write(root.join(name), name)?;
                std::os::unix::fs::chown(root.join(name), Some(id), Some(id))?;
            }
            Ok(())
        },
        &[],
    )
    .unwrap();
    let mounted = Mounted::new(&[]);
    let with = |ids: serde_json::Value| {
        let mut config = config(&image, &mounted.home.path().join("cache"));
        config["id_mapping"] = ids;
        body(&image.bootstrap(), &config)
    };
    let api = mounted.api();
    let mapped = with(serde_json::json!([0, 100_000, 65_536]));
    assert_done(&Client::Go.mount(&api, "/mapped", &mapped));
    assert_done(&Client::Go.mount(&api, "/plain", &with(serde_json::json!([0, 0, 0]))));
    for (at, name, id) in [
        ("mapped", "root", 100_000),
        ("mapped", "user", 101_000),
        ("mapped", "beyond", 70_000),
        ("mapped", ".", 100_000),
        ("plain", "root", 0),
        ("plain", "user", 1000),
    ] {
        let found = fs::metadata(mounted.path().join(at).join(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (id, id), "{at}/{name}");
    }
    for wrong in [
        serde_json::json!([0, 1]),
        serde_json::json!([0, u32::MAX, 2]),
    ] {
        let answer = Client::Go.mount(&api, "/wrong", &with(wrong));
        assert_eq!(answer.status, 500);
        assert!(answer.message().contains("id_mapping"), "{answer:?}");
    }
}

/// The threads that answer the kernel may do what directories need.
#[test]
fn directories_can_be_read_on_the_host() {
    if !is_possible() {
        println!("SKIPPED: needs root and /dev/fuse");
        return;
    }
    let shared = tempfile::tempdir().unwrap();
    fs::write(shared.path().join("file"), "content").unwrap();
    let mut mounted = Mounted::new(&[]);
    let (api, path) = (mounted.api(), mounted.path());
    let source = serde_json::json!({
        "fs_type": "passthrough_fs", "source": shared.path(), "config": "",
    });
    assert_done(&Client::Go.mount(&api, "/dir", &source.to_string()));
    let dir = path.join("dir");
    assert_eq!(names(&dir), ["file"]);
    assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "content");
    assert_eq!(fs::metadata(dir.join("file")).unwrap().len(), 7);
    fs::write(shared.path().join("later"), "").unwrap();
    assert_eq!(names(&dir), ["file", "later"]);
    let refused = fs::write(dir.join("new"), "").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    assert_done(&ask(&api, "PUT", "/api/v1/daemon/exit", ""));
    assert_eq!(mounted.child.wait().unwrap().code(), Some(0));
}
