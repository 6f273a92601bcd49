use std::collections::HashMap as Map;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, Mode, XattrFlags, mkdirat, mknodat};

use super::*;

fn node<'a>(tree: &'a Tree, path: &str) -> &'a Node {
    &tree.nodes[tree.find(path.as_bytes()).unwrap()]
}

#[test]
fn every_type_of_file_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), b"12345").unwrap();
    fs::set_permissions(at("file"), fs::Permissions::from_mode(0o4751)).unwrap();
    symlink("some/where", at("link")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        last_modification: rustix::fs::Timespec {
            tv_sec: -5,
            tv_nsec: 7,
        },
    };
    rustix::fs::utimensat(CWD, at("file"), &times, AtFlags::empty()).unwrap();

    let tree = scan(dir.path()).unwrap();
    let file = node(&tree, "file");
    assert_eq!(
        (file.meta.mode, file.meta.mtime, file.meta.mtime_ns),
        (0o4751, -5, 7)
    );
    assert!(matches!(&file.content, Content::File(f) if f.size == 5));
    assert!(matches!(&node(&tree, "link").content, Content::Symlink(t) if **t == *b"some/where"));
    assert!(matches!(node(&tree, "socket").content, Content::Socket));
    assert!(matches!(node(&tree, "fifo").content, Content::Fifo));

    // Only root may make devices.
    let device = rustix::fs::makedev(259, 300);
    if mknodat(
        CWD,
        at("device"),
        FileType::CharacterDevice,
        Mode::RUSR,
        device,
    )
    .is_ok()
    {
        let tree = scan(dir.path()).unwrap();
        assert!(matches!(
            node(&tree, "device").content,
            Content::CharDevice(0x0011_032c)
        ));
    }
}

#[test]
fn names_of_one_inode_are_one_node_whatever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("d")).unwrap();
    fs::write(at("file"), b"x").unwrap();
    symlink("t", at("link")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    for name in ["file", "link", "fifo"] {
        fs::hard_link(at(name), at(&format!("d/{name}"))).unwrap();
    }
    let tree = scan(dir.path()).unwrap();
    for name in ["file", "link", "fifo"] {
        assert_eq!(
            tree.find(name.as_bytes()),
            tree.find(format!("d/{name}").as_bytes())
        );
    }
    assert_eq!(tree.nodes.len(), 5);
    assert_eq!(tree.preorder().len(), 5);
}

#[test]
fn names_are_bytes_and_sorted_as_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let names: [&[u8]; 6] = [b"\x01", b"-a", b"B", b"a\nb", b"\xc3\xa4", b"\xff\xfe"];
    for name in names.iter().rev() {
        fs::write(
            dir.path().join(std::ffi::OsString::from_vec(name.to_vec())),
            b"",
        )
        .unwrap();
    }
    fs::write(dir.path().join("n".repeat(255)), b"").unwrap();
    let tree = scan(dir.path()).unwrap();
    let Content::Directory(entries) = &tree.nodes[0].content else {
        panic!()
    };
    assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(entries.len(), 7);
    assert!(names.iter().all(|name| tree.find(name).is_some()));
}

#[test]
fn extended_attributes_are_kept_or_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let set = |name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(&file, name, value, XattrFlags::empty()).is_ok()
    };
    // Some file systems have none.
    if !set("user.z", b"1") {
        return;
    }
    assert!(set("user.a", b"\0\n\xff") && set("user.empty", b""));
    let tree = scan(dir.path()).unwrap();
    let found: Map<_, _> = node(&tree, "file").xattrs.iter().cloned().collect();
    assert_eq!(found[b"user.a".as_slice()], b"\0\n\xff");
    assert_eq!(found[b"user.empty".as_slice()], b"");
    assert!(node(&tree, "file").xattrs.is_sorted());
}

#[test]
fn sparse_files_are_marked() {
    let dir = tempfile::tempdir().unwrap();
    fs::File::create(dir.path().join("hole"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    fs::write(dir.path().join("full"), vec![1; 8192]).unwrap();
    let tree = scan(dir.path()).unwrap();
    let sparse = |name| match &node(&tree, name).content {
        Content::File(FileContent {
            data: Data::Path { sparse, .. },
            ..
        }) => *sparse,
        other => panic!("{other:?}"),
    };
    assert!(sparse("hole") && !sparse("full"));
}

#[test]
fn trees_deeper_than_a_path_may_be_long_are_read_and_packed() {
    let dir = tempfile::tempdir().unwrap();
    let mut at = open(dir.path(), OFlags::DIRECTORY).unwrap();
    for _ in 0..3000 {
        mkdirat(&at, "deep", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "deep", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let file = rustix::fs::openat(&at, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    rustix::io::write(&file, b"bottom").unwrap();
    let mut tree = scan(dir.path()).unwrap();
    assert_eq!(tree.nodes.len(), 3002);
    assert_eq!(tree.preorder(), (0..3002).collect::<Vec<_>>());
    let out = tempfile::tempdir().unwrap();
    let options = crate::build::options::BuildOptions::default();
    let packed =
        crate::build::pack::pack(&mut tree, &crate::build::pack::NoDict, &options, out.path());
    assert_eq!(packed.unwrap().statistics.bytes, 6);
}

#[test]
fn a_link_to_a_directory_is_a_source_and_a_missing_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    fs::write(dir.path().join("real/file"), b"").unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    assert_eq!(scan(&dir.path().join("link")).unwrap().nodes.len(), 2);
    let error = scan(&dir.path().join("no such")).unwrap_err();
    assert!(error.to_string().contains("no such"));
}
