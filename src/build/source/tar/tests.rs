use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;

use super::*;
use crate::build::tree::{Meta, NodeIndex};

/// One entry with a ustar header made by hand.
fn entry(name: &[u8], kind: u8, link: &[u8], data: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000640\0");
    block[108..116].copy_from_slice(b"0000007\0");
    block[116..124].copy_from_slice(b"0000010\0");
    block[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    block[136..148].copy_from_slice(b"00000000144\0");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    let mut out = block.to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Alters fields of an entry's header.
fn altered(mut entry: Vec<u8>, alter: impl Fn(&mut [u8; 512])) -> Vec<u8> {
    let block: &mut [u8; 512] = (&mut entry[..512]).try_into().unwrap();
    alter(block);
    seal(block);
    entry
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    entry(name.as_bytes(), b'0', b"", data)
}

fn dir(name: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'5', b"", b"")
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let len = (1..6)
        .map(|digits| body + digits)
        .find(|len| len.to_string().len() + body == *len);
    [format!("{} {key}=", len.unwrap()).as_bytes(), value, b"\n"].concat()
}

fn pax(kind: u8, records: &[(&str, &[u8])]) -> Vec<u8> {
    let data: Vec<u8> = records
        .iter()
        .flat_map(|(key, value)| record(key, value))
        .collect();
    entry(b"pax", kind, b"", &data)
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

fn read(bytes: &[u8]) -> Result<Tree, SourceError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    fs::write(&path, bytes).unwrap();
    let tree = scan(&path, dir.path());
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "a spool file has a name"
    );
    tree
}

fn tree(parts: &[Vec<u8>]) -> Tree {
    read(&archive(parts)).unwrap()
}

/// The whole chain of messages of an archive that must be refused.
fn refused(parts: &[Vec<u8>]) -> String {
    chain(&read(&archive(parts)).unwrap_err())
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(
        || error.to_string(),
        |next| format!("{error}: {}", chain(next)),
    )
}

fn at(tree: &Tree, path: &str) -> NodeIndex {
    tree.find(path.as_bytes())
        .unwrap_or_else(|| panic!("no {path}"))
}

fn bytes(tree: &Tree, path: &str) -> Vec<u8> {
    match &tree.nodes[at(tree, path)].content {
        Content::File(FileContent {
            size,
            data: Data::Range { file, offset, .. },
            ..
        }) => {
            let mut bytes = vec![0; usize::try_from(*size).unwrap()];
            file.read_exact_at(&mut bytes, *offset).unwrap();
            bytes
        }
        other => panic!("{path} is {other:?}"),
    }
}

#[test]
fn every_type_of_entry_is_read() {
    let null = |major: &'static [u8]| {
        altered(entry(b"null", b'3', b"", b""), move |block| {
            block[329..329 + major.len()].copy_from_slice(major);
            block[337..345].copy_from_slice(b"0000003\0");
        })
    };
    let tree = tree(&[
        dir("d/"),
        file("d/old", b"12345"),
        entry(b"nul", 0, b"", b"old"),
        entry(b"old dir/", 0, b"", b""),
        entry(b"contiguous", b'7', b"", b"cont"),
        entry(b"link", b'2', b"d/old", b""),
        entry(b"fifo", b'6', b"", b""),
        null(b"0000001\0"),
        altered(entry(b"empty major", b'4', b"", b""), |block| {
            block[329..345].fill(0)
        }),
        entry(b"d/hard", b'1', b"./d/old", b""),
        entry(b"hard link", b'1', b"link", b""),
        entry(b"hard null", b'1', b"null", b""),
    ]);
    assert_eq!(bytes(&tree, "d/old"), b"12345");
    assert_eq!(bytes(&tree, "nul"), b"old");
    assert_eq!(bytes(&tree, "contiguous"), b"cont");
    let content = |path| &tree.nodes[at(&tree, path)].content;
    assert!(matches!(content("old dir"), Content::Directory(_)));
    assert!(matches!(content("link"), Content::Symlink(target) if **target == *b"d/old"));
    assert!(matches!(content("fifo"), Content::Fifo));
    assert!(matches!(content("null"), Content::CharDevice(0x103)));
    assert!(matches!(content("empty major"), Content::BlockDevice(0)));
    for (name, target) in [
        ("d/hard", "d/old"),
        ("hard link", "link"),
        ("hard null", "null"),
    ] {
        assert_eq!(at(&tree, name), at(&tree, target));
    }
    let meta = tree.nodes[at(&tree, "d")].meta;
    assert_eq!(
        meta,
        Meta {
            mode: 0o640,
            uid: 7,
            gid: 8,
            mtime: 100,
            mtime_ns: 0
        }
    );
}

#[test]
fn parents_without_entry_stand_in_their_own_place() {
    let tree = tree(&[dir("z/"), file("a/b/c", b"1")]);
    assert_eq!(bytes(&tree, "a/b/c"), b"1");
    let implied = Meta {
        mode: 0o755,
        ..Meta::default()
    };
    assert_eq!(tree.nodes[at(&tree, "a/b")].meta, implied);
    assert_eq!(tree.nodes[0].meta, implied);
    assert!(matches!(&tree.nodes[at(&tree, "z")].content, Content::Directory(e) if e.is_empty()));
}

#[test]
fn the_entry_of_the_root_sets_its_attributes() {
    for name in ["./", ".", ".//./"] {
        assert_eq!(
            tree(&[dir(name), file("./a", b"")]).nodes[0].meta.mode,
            0o640
        );
    }
    assert!(refused(&[file(".", b"")]).contains("root can only be a directory"));
}

#[test]
fn later_entries_replace_earlier_ones() {
    let found = tree(&[
        file("a", b"1"),
        entry(b"keep", b'1', b"a", b""),
        file("a", b"22"),
    ]);
    assert_eq!(
        (bytes(&found, "a"), bytes(&found, "keep")),
        (b"22".to_vec(), b"1".to_vec())
    );
    let found = tree(&[file("a/x", b"1"), dir("a"), file("a/y", b"2")]);
    assert_eq!(found.nodes[at(&found, "a")].meta.mode, 0o640);
    assert_eq!(bytes(&found, "a/x"), b"1");
    let found = tree(&[file("a/x", b"1"), file("a", b"2")]);
    assert_eq!(found.nodes.len(), 2);
    let found = tree(&[file("a/x", b"1"), file("a", b"2"), dir("a")]);
    assert!(found.find(b"a/x").is_none());
}

#[test]
fn pax_headers_are_obeyed_and_global_ones_are_defaults() {
    let long = "n".repeat(200) + "/" + &"m".repeat(255);
    let found = tree(&[
        pax(
            b'g',
            &[("uid", b"70000"), ("mtime", b"5"), ("comment", b"git")],
        ),
        pax(
            b'x',
            &[
                ("path", long.as_bytes()),
                ("mtime", b"-1.25"),
                ("SCHILY.xattr.user.b", b"\0\n"),
                ("SCHILY.xattr.user.a", b""),
            ],
        ),
        file("short", b"data"),
        pax(b'x', &[("gid", b"4294967295"), ("uid", b"")]),
        file("second", b""),
        pax(b'x', &[("linkpath", "t".repeat(300).as_bytes())]),
        entry(b"link", b'2', b"t", b""),
    ]);
    assert_eq!(bytes(&found, &long), b"data");
    let first = &found.nodes[at(&found, &long)];
    assert_eq!(
        (first.meta.uid, first.meta.mtime, first.meta.mtime_ns),
        (70000, -2, 750_000_000)
    );
    let xattrs = [
        (b"user.a".to_vec(), vec![]),
        (b"user.b".to_vec(), b"\0\n".to_vec()),
    ];
    assert_eq!(first.xattrs, xattrs);
    let second = found.nodes[at(&found, "second")].meta;
    assert_eq!((second.uid, second.gid, second.mtime), (7, u32::MAX, 5));
    let link = &found.nodes[at(&found, "link")];
    assert!(matches!(&link.content, Content::Symlink(t) if t.len() == 300));
    assert_eq!(link.meta.uid, 70000);
}

#[test]
fn the_size_of_pax_counts_for_the_data() {
    let data = altered(file("a", b"hello"), |block| block[124..136].fill(b'0'));
    let found = tree(&[pax(b'x', &[("size", b"5")]), data, file("b", b"next")]);
    assert_eq!(
        (bytes(&found, "a"), bytes(&found, "b")),
        (b"hello".to_vec(), b"next".to_vec())
    );
}

#[test]
fn gnu_long_names_and_ustar_prefixes_are_joined() {
    let long = "x".repeat(120) + "/" + &"y".repeat(90);
    let zero = |text: &str| [text.as_bytes(), b"\0"].concat();
    let found = tree(&[
        entry(b"././@LongLink", b'L', b"", &zero(&long)),
        file("cut", b"1"),
        entry(b"././@LongLink", b'K', b"", &zero(&long)),
        entry(b"hard", b'1', b"cut", b""),
        altered(file("name", b"2"), |block| {
            block[345..351].copy_from_slice(b"prefix")
        }),
    ]);
    assert_eq!(bytes(&found, &long), b"1");
    assert_eq!(at(&found, "hard"), at(&found, &long));
    assert_eq!(bytes(&found, "prefix/name"), b"2");
}

#[test]
fn times_before_the_epoch_are_read_from_binary_fields() {
    let found = tree(&[altered(file("a", b""), |block| {
        block[136..147].fill(0xff);
        block[147] = 0xfb;
    })]);
    assert_eq!(found.nodes[at(&found, "a")].meta.mtime, -5);
}

#[test]
fn sparse_files_of_all_formats_are_expanded() {
    let (size, holes) = (20_000, [(4096, b"abc".as_slice()), (19_000, b"xyz1")]);
    let mut wanted = vec![0; size];
    holes
        .iter()
        .for_each(|(at, data)| wanted[*at..at + data.len()].copy_from_slice(data));
    let old = altered(entry(b"old", b'S', b"", b"abcxyz1"), |block| {
        block[257..265].copy_from_slice(b"ustar  \0");
        for (n, (at, data)) in holes.iter().enumerate() {
            let fields = format!("{at:011o}\0{:011o}\0", data.len());
            block[386 + 24 * n..410 + 24 * n].copy_from_slice(fields.as_bytes());
        }
        block[483..495].copy_from_slice(format!("{size:011o}\0").as_bytes());
    });
    let mut inside = b"2\n4096\n3\n19000\n4\n".to_vec();
    inside.resize(512, 0);
    inside.extend_from_slice(b"abcxyz1");
    let found = tree(&[
        old,
        pax(
            b'x',
            &[
                ("GNU.sparse.size", b"20000"),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.offset", b"4096"),
                ("GNU.sparse.numbytes", b"3"),
                ("GNU.sparse.offset", b"19000"),
                ("GNU.sparse.numbytes", b"4"),
            ],
        ),
        file("pax00", b"abcxyz1"),
        pax(
            b'x',
            &[
                ("GNU.sparse.size", b"20000"),
                ("GNU.sparse.name", b"pax01"),
                ("GNU.sparse.map", b"4096,3,19000,4"),
            ],
        ),
        file("GNUSparseFile.1/pax01", b"abcxyz1"),
        pax(
            b'x',
            &[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"pax10"),
                ("GNU.sparse.realsize", b"20000"),
            ],
        ),
        file("GNUSparseFile.2/pax10", &inside),
        file("after", b"!"),
    ]);
    for name in ["old", "pax00", "pax01", "pax10"] {
        assert!(bytes(&found, name) == wanted, "{name}");
    }
    assert_eq!(bytes(&found, "after"), b"!");
    assert!(found.find(b"GNUSparseFile.1").is_none());

    for map in [
        "19000,4,4096,3",
        "4096,3,19999,4",
        "4096,3",
        "4096,18446744073709551615",
        "1,2,3",
    ] {
        let keys = [
            ("GNU.sparse.size", b"20000".as_slice()),
            ("GNU.sparse.map", map.as_bytes()),
        ];
        let text = refused(&[pax(b'x', &keys), file("f", b"abcxyz1")]);
        assert!(text.contains("map of holes"), "{map}: {text}");
    }
}

#[test]
fn unusable_entries_are_refused_by_name() {
    for (parts, wanted) in [
        (vec![file("/etc/passwd", b"")], "/etc/passwd is absolute"),
        (vec![file("a/../b", b"")], "a/../b has a `..`"),
        (vec![file("b\x07/..", b"")], r#""b\x07/..""#),
        (
            vec![file("a", b""), file("a/b", b"")],
            "a, which it lies below, is not a directory",
        ),
        (
            vec![entry(b"h", b'1', b"later", b""), file("later", b"")],
            "hard link to later",
        ),
        (
            vec![dir("d"), entry(b"h", b'1', b"d", b"")],
            "hard link to the directory d",
        ),
        (vec![entry(b"h", b'1', b"/d", b"")], "/d is absolute"),
        (vec![entry(b"l", b'2', b"", b"")], "bad target"),
        (vec![entry(b"m", b'M', b"", b"")], "type 'M'"),
        (
            vec![
                pax(b'x', &[("path", "n".repeat(256).as_bytes())]),
                file("n", b""),
            ],
            "256 bytes",
        ),
        (
            vec![
                pax(b'x', &[("SCHILY.xattr.system.nfs4_acl", b"1")]),
                file("n", b""),
            ],
            "nfs4_acl of n",
        ),
        (
            vec![pax(b'x', &[("uid", b"4294967296")]), file("n", b"")],
            "uid",
        ),
        (
            vec![altered(file("n", b""), |block| block[100] = b'z')],
            "mode is not a number",
        ),
        (
            vec![pax(b'x', &[])],
            "the entry of an extension header is missing",
        ),
    ] {
        let text = refused(&parts);
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn damaged_archives_are_refused_without_panic() {
    assert!(read(b"").unwrap_err().to_string().contains("empty"));
    assert!(read(b"short").is_err());
    assert!(
        read(&vec![b'x'; 4096])
            .unwrap_err()
            .to_string()
            .contains("no header")
    );
    assert_eq!(read(&[0; 1024]).unwrap().nodes.len(), 1);
    let whole = archive(&[
        pax(b'x', &[("mtime", b"1.5")]),
        file("a", &[1; 700]),
        dir("d"),
    ]);
    let end = whole.len() - 1024;
    for cut in (0..end).step_by(100).chain([end]) {
        assert!(read(&whole[..cut]).is_err(), "{cut}");
    }
    for byte in (0..end).step_by(9) {
        let mut mutant = whole.clone();
        mutant[byte] ^= 0x55;
        // Either outcome is right; a panic is not.
        let _ = read(&mutant);
    }
}

#[test]
fn compressed_archives_are_known_by_their_bytes() {
    let whole = archive(&[file("a", b"hello"), file("b", b"world")]);
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let two_members = [gzip(&whole[..700]), gzip(&whole[700..])].concat();
    let zstd = zstd::bulk::compress(&whole, 3).unwrap();
    for packed in [&two_members, &zstd] {
        assert_eq!(bytes(&read(packed).unwrap(), "b"), b"world");
        let error = read(&packed[..packed.len() - 9]).unwrap_err().to_string();
        assert!(error.contains("a.tar"), "{error}");
    }
}
