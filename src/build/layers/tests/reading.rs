//! How the archive of a layer is read.

use std::fmt::Write as _;
use std::io::Write as _;

use super::super::*;
use super::archive::{dir, entry, file, layer, link, pax, symlink, text};
use super::rig::{Built, build, expect, is, listing, options, sha256, tree, try_build};
use crate::build::options::BuildOptions;
use crate::build::pack::{Dict, NoDict};

#[test]
fn links_to_devices_and_files_with_attributes_are_one_inode() {
    let found = tree(&[vec![
        pax(b'x', &[("SCHILY.xattr.user.a", "v")]),
        file("f", "1"),
        link("f2", "f"),
        entry(b"fifo", b'6', b"", b""),
        link("fifo2", "fifo"),
        entry(b"dev", b'3', b"", b""),
        link("dev2", "/dev"),
    ]]);
    let file = is("1") + " user.a=v x2";
    let wanted = [
        ("/f", file.as_str()),
        ("/f2", &file),
        ("/fifo", "Fifo 640 x2"),
        ("/fifo2", "Fifo 640 x2"),
        ("/dev", "CharDevice(0) 640 x2"),
        ("/dev2", "CharDevice(0) 640 x2"),
    ];
    expect(&found, &wanted);
}

#[test]
fn the_last_of_several_entries_counts() {
    let found = tree(&[vec![
        file("a", "1"),
        link("keep", "a"),
        file("a", "22"),
        file("d/x", "3"),
        file("d", "4"),
        dir("e/f"),
        symlink("e", "d2"),
        dir("d2"),
        file("e/g", "5"),
    ]]);
    let wanted = [
        ("/a", is("22")),
        ("/keep", is("1")),
        ("/d", is("4")),
        ("/d2", "dir 640".into()),
        ("/d2/g", is("5")),
        ("/e", "link d2 640".into()),
    ];
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(path, it)| (*path, it.as_str()))
        .collect();
    expect(&found, &wanted);
}

#[test]
fn what_aufs_kept_is_gone_but_its_links_work() {
    let found = tree(&[vec![
        dir(".wh..wh.plnk"),
        file(".wh..wh.plnk/1.2", "1"),
        file(".wh..wh.aufs", ""),
        link("a", ".wh..wh.plnk/1.2"),
    ]]);
    expect(&found, &[("/a", &is("1"))]);
}

#[test]
fn sparse_files_and_archives_without_end_are_read_as_streams() {
    let mut map = String::from("2\n5000\n3\n19000\n4\n");
    map.extend(std::iter::repeat_n('\0', 512 - map.len()));
    let sparse = [
        pax(
            b'x',
            &[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.name", "hole"),
                ("GNU.sparse.realsize", "20000"),
            ],
        ),
        file("GNUSparseFile.2/hole", &(map + "abcxyz1")),
        file("after", "!"),
    ]
    .concat();
    let Built { merged, .. } = build(&[sparse]);
    let found = listing(&merged.tree, &merged.packed.chunks);
    let mut bytes = vec![0; 20_000];
    bytes[5000..5003].copy_from_slice(b"abc");
    bytes[19_000..19_004].copy_from_slice(b"xyz1");
    let digests: Vec<_> = bytes
        .chunks(4096)
        .map(|chunk| sha256(chunk).to_string()[..8].to_owned())
        .collect();
    let wanted = format!("file 20000 {} 640", digests.join(","));
    expect(&found, &[("/hole", &wanted), ("/after", &is("!"))]);
}

#[test]
fn bad_layers_are_refused_by_name() {
    for (layers, wanted) in [
        (vec![vec![link("a", "none")]], "hard link to none"),
        (vec![vec![dir("d"), link("a", "d")]], "the directory d"),
        (
            vec![vec![entry(b".wh.", b'0', b"", b"")]],
            "whiteout of nothing",
        ),
        (vec![vec![file(".", "1")]], "root can only"),
        (
            vec![vec![symlink("a", "b"), symlink("b", "a"), file("a/x", "")]],
            "too many symbolic links",
        ),
        (vec![vec![entry(b"m", b'M', b"", b"")]], "type 'M'"),
    ] {
        let layers: Vec<_> = layers.iter().map(|parts| layer(parts)).collect();
        let dict = (&NoDict as &dyn Dict, DictId::default());
        let error = try_build(&layers, &options(), dict, None).err().unwrap();
        let mut text = error.to_string();
        let mut at: &dyn std::error::Error = &error;
        while let Some(next) = at.source() {
            write!(text, ": {next}").unwrap();
            at = next;
        }
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("ayer sha256:"), "{text}");
    }
}

#[test]
fn compression_and_threads_do_not_matter() {
    let plain = layer(&[
        file("a", &text(0, 3000)),
        file("b", &text(100, 400)),
        file("c", &text(0, 3000)),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::bulk::compress(&plain, 3).unwrap();
    let base = build(std::slice::from_ref(&plain));
    for bytes in [gzip, zstd] {
        let other = build(&[bytes]);
        assert_eq!(other.merged.packed, base.merged.packed);
    }
    for threads in [1, 7] {
        let options = BuildOptions {
            threads,
            ..options()
        };
        let dict = (&NoDict as &dyn Dict, DictId::default());
        let other = try_build(std::slice::from_ref(&plain), &options, dict, None).unwrap();
        assert_eq!(other.merged.packed, base.merged.packed);
    }
}
