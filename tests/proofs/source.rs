//! A tree as a tar archive: one of each type, long directories, long files, and
//! names of every kind.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use crate::images::noise;

/// Entries of the longest directory: three heights of its Merkle list.
const MANY: usize = 128 * 128 + 3;

pub(crate) struct Tree {
    home: TempDir,
    files: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Whether a name is worth a proof of its own: of the long directory only the
/// edges of groups are.
pub(crate) fn is_of_interest(path: &[u8]) -> bool {
    match path.strip_prefix(b"many/") {
        None => true,
        Some(name) => {
            let number: usize = std::str::from_utf8(name).unwrap().parse().unwrap();
            let edges = [0, 1, 127, 128, 8192, 16_255, 16_256];
            edges.contains(&number) || number >= 16_382
        }
    }
}

impl Tree {
    pub(crate) fn new() -> Self {
        let mut tree = Self {
            home: tempfile::tempdir().unwrap(),
            files: BTreeMap::new(),
        };
        let mut archive = Builder::new(File::create(tree.archive()).unwrap());
        for directory in ["dir", "empty", "many", "some"] {
            let header = header(EntryType::Directory, 0o755);
            add(&mut archive, header, directory.as_bytes(), &[]);
        }
        let mut file = |name: &[u8], bytes: &[u8]| {
            let mut header = header(EntryType::Regular, 0o4711);
            header.set_size(bytes.len() as u64);
            add(&mut archive, header, name, bytes);
            tree.files.insert(name.to_vec(), bytes.to_vec());
        };
        file(b"dir/short", b"some bytes");
        file(b"dir/nothing", b"");
        file(b"dir/one chunk", &noise(4096));
        file(b"dir/two chunks", &noise(4097));
        file(b"dir/long", &noise(4096 * 300 + 77));
        file(b"dir/zeros", &vec![0; 4096 * 257]);
        file(b"dir/na\xffme\x01", b"a name that is no UTF-8");
        file("dir/\u{e4}\\n\n".as_bytes(), b"a name with escapes");
        for number in 0..130 {
            file(format!("some/{number}").as_bytes(), b"");
        }
        for number in 0..MANY {
            file(format!("many/{number:06}").as_bytes(), b"");
        }
        for (name, target, kind) in [
            ("link", &b"dir/short"[..], EntryType::Symlink),
            ("odd link", b"to \xfe\n", EntryType::Symlink),
            ("dir/z later name", b"dir/short", EntryType::Link),
            ("some/later name", b"dir/long", EntryType::Link),
        ] {
            let mut header = header(kind, 0o777);
            header.set_link_name_literal(target).unwrap();
            add(&mut archive, header, name.as_bytes(), &[]);
            if kind == EntryType::Link {
                let bytes = tree.files[target].clone();
                tree.files.insert(name.into(), bytes);
            }
        }
        for (name, kind) in [
            ("fifo", EntryType::Fifo),
            ("character", EntryType::Char),
            ("block", EntryType::Block),
        ] {
            let mut header = header(kind, 0o640);
            header.set_device_major(259).unwrap();
            header.set_device_minor(300).unwrap();
            add(&mut archive, header, name.as_bytes(), &[]);
        }
        let xattrs = [
            ("SCHILY.xattr.user.first", &b"\x00\xff"[..]),
            ("SCHILY.xattr.user.second", b"two"),
        ];
        archive.append_pax_extensions(xattrs).unwrap();
        let mut xattrs = header(EntryType::Regular, 0o600);
        xattrs.set_size(1);
        add(&mut archive, xattrs, b"xattrs", b"x");
        tree.files.insert(b"xattrs".to_vec(), b"x".to_vec());
        archive.into_inner().unwrap();
        tree
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn archive(&self) -> PathBuf {
        self.path("tree.tar")
    }

    /// The bytes of the file at `path`.
    pub(crate) fn bytes(&self, path: &[u8]) -> Vec<u8> {
        self.files[path].clone()
    }

    /// The paths of all files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &[u8]> {
        self.files.keys().map(Vec::as_slice)
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(70_000);
    header.set_gid(7);
    header.set_mtime(1_700_000_000);
    header.set_size(0);
    header
}

fn add(archive: &mut Builder<File>, mut header: Header, path: &[u8], bytes: &[u8]) {
    let path = std::ffi::OsStr::from_bytes(path);
    archive.append_data(&mut header, path, bytes).unwrap();
}
