//! A state directory on a disk that is full for a while.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::mounted::Mounted;
use crate::rig::{Rig, place};
use crate::support::mount;
use crate::support::session::wire::ROOT;

/// Writes until nothing more fits.
fn fill(file: &Path) {
    let mut full = fs::File::create(file).unwrap();
    let mut len = 4096;
    while len > 0 {
        if full.write_all(&vec![1; len]).is_err() {
            len /= 2;
        }
    }
}

#[test]
fn no_inode_number_is_anothers_after_a_full_disk() {
    if !mount::is_possible() {
        eprintln!("Skipped: mounting needs root");
        return;
    }
    let home = place("full-");
    let path = |name: &str| home.path().join(name);
    for dir in ["disk", "source", "source/1", "source/2", "source/3"] {
        fs::create_dir(path(dir)).unwrap();
    }
    let _disk = Mounted::tmpfs("size=256k,mode=700", path("disk"));
    let mut mounted = Vec::new();
    for name in ["1", "2", "3"] {
        let at = path("source").join(name);
        mounted.push(Mounted::tmpfs("size=1m", at.clone()));
        fs::write(at.join("file"), name).unwrap();
    }
    // Inodes of different file systems have the same number.
    let inode = |name: &str| {
        let file = path("source").join(name).join("file");
        fs::metadata(file).unwrap().ino()
    };
    assert!(inode("1") == inode("2") && inode("2") == inode("3"));

    let state = path("disk").join("state");
    let mut rig = Rig::with(|home| {
        let serve = [
            ("--socket", home.join(crate::rig::SOCKET)),
            ("--api-socket", home.join(crate::rig::API)),
            ("--state", state.clone()),
            ("--shared-dir", path("source")),
        ];
        let start = [crate::rig::PROGRAM.into(), "serve".into()];
        let serve = serve.into_iter();
        let serve = serve.flat_map(|(option, path)| [option.into(), path.into()]);
        start.into_iter().chain(serve).collect::<Vec<OsString>>()
    });
    let mut shown: HashMap<u64, &str> = HashMap::new();
    let mut show = |rig: &mut Rig, name: &'static str| {
        let guest = rig.guest();
        let dir = guest.lookup(ROOT, name.as_bytes()).unwrap().node;
        for node in [dir, guest.lookup(dir, b"file").unwrap().node] {
            let number = guest.attributes(node).unwrap().inode;
            let first = shown.insert(number, name).unwrap_or(name);
            assert_eq!(first, name, "{number:#x}");
        }
    };
    // The first file system is met while nothing can be written.
    rig.guest();
    fill(&path("disk").join("filler"));
    show(&mut rig, "1");
    assert!(rig.info()["failures"].as_u64().unwrap() > 0);
    fs::remove_file(path("disk").join("filler")).unwrap();
    show(&mut rig, "2");
    rig.restart();
    for name in ["3", "1", "2"] {
        show(&mut rig, name);
    }
    rig.restart();
    for name in ["1", "2", "3"] {
        show(&mut rig, name);
    }
}
