use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::Digest as _;

use super::image::{self, LayerInput, LayerOptions, LayerReport};
use super::*;
use crate::build::options::BuildOptions;
use crate::build::pack::{ChunkDict, Dict, NoDict};
use crate::build::tree::{Content, NodeIndex, Tree};
use crate::chunk::{Chunk, Compressor, Digest};

/// A header made by hand, with its data.
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

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn mode(mut entry: Vec<u8>, mode: u32) -> Vec<u8> {
    entry[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
    seal(&mut entry);
    entry
}

fn file(name: &str, data: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'0', b"", data.as_bytes())
}

fn dir(name: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'5', b"", b"")
}

fn link(name: &str, target: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'1', target.as_bytes(), b"")
}

fn symlink(name: &str, target: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'2', target.as_bytes(), b"")
}

fn pax(kind: u8, records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = String::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let len = (1..6).map(|digits| body + digits);
        let len = len
            .into_iter()
            .find(|len| len.to_string().len() + body == *len);
        writeln!(data, "{} {key}={value}", len.unwrap()).unwrap();
    }
    entry(b"pax", kind, b"", data.as_bytes())
}

fn layer(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

fn options() -> BuildOptions {
    BuildOptions {
        chunk_size: 4096,
        threads: 2,
        ..BuildOptions::default()
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

/// What a build of layers gives.
struct Built {
    dir: tempfile::TempDir,
    merged: Merged,
    reports: Vec<LayerReport>,
    /// Layers that were read.
    read: usize,
}

impl Built {
    fn blobs(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.dir.path().join("blobs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn try_build(
    layers: &[Vec<u8>],
    options: &BuildOptions,
    dict: (&dyn Dict, DictId),
    cache: Option<&Path>,
) -> Result<Built, LayerError> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("blobs")).unwrap();
    let read = AtomicUsize::new(0);
    let openers: Vec<_> = layers
        .iter()
        .map(|layer| {
            let read = &read;
            move || {
                read.fetch_add(1, Ordering::Relaxed);
                let bytes: Box<dyn std::io::Read + Send> =
                    Box::new(std::io::Cursor::new(layer.clone()));
                Ok(bytes)
            }
        })
        .collect();
    let inputs: Vec<_> = layers
        .iter()
        .zip(&openers)
        .map(|(layer, open)| LayerInput {
            digest: sha256(layer),
            open,
        })
        .collect();
    let layer_options = LayerOptions {
        build: options,
        dict,
        cache,
    };
    let (merged, reports) = image::build(&inputs, &layer_options, dir.path())?;
    drop(inputs);
    let entries = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(entries, 1, "a temporary file is left");
    Ok(Built {
        dir,
        merged,
        reports,
        read: read.load(Ordering::Relaxed),
    })
}

fn build(layers: &[Vec<u8>]) -> Built {
    try_build(layers, &options(), (&NoDict, DictId::default()), None).unwrap()
}

fn tree(layers: &[Vec<Vec<u8>>]) -> BTreeMap<String, String> {
    let layers: Vec<_> = layers.iter().map(|parts| layer(parts)).collect();
    let Built { merged, .. } = build(&layers);
    listing(&merged.tree, &merged.packed.chunks)
}

/// Each path with what is there; the names of one inode say so.
fn listing(tree: &Tree, chunks: &[Chunk]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut names: BTreeMap<NodeIndex, usize> = BTreeMap::new();
    let mut stack = vec![(String::new(), 0)];
    while let Some((path, at)) = stack.pop() {
        let node = &tree.nodes[at];
        let what = match &node.content {
            Content::Directory(entries) => {
                for (name, child) in entries {
                    *names.entry(*child).or_default() += 1;
                    let name = name.escape_ascii().to_string();
                    stack.push((format!("{path}/{name}"), *child));
                }
                "dir".into()
            }
            Content::File(file) => {
                let digests = file.chunks.iter().map(|&it| chunks[it as usize].digest);
                let digests: Vec<_> = digests.map(|it| it.to_string()[..8].to_owned()).collect();
                format!("file {} {}", file.size, digests.join(","))
            }
            Content::Symlink(target) => format!("link {}", target.escape_ascii()),
            other => format!("{other:?}"),
        };
        let xattrs: Vec<_> = node
            .xattrs
            .iter()
            .map(|(key, value)| format!(" {}={}", key.escape_ascii(), value.escape_ascii()))
            .collect();
        let text = format!("{what} {:o}{} #{at}", node.meta.mode, xattrs.concat());
        found.insert(path, text);
    }
    for text in found.values_mut() {
        let (rest, at) = text.rsplit_once(" #").unwrap();
        let count = names.get(&at.parse().unwrap()).copied().unwrap_or(1);
        *text = if count > 1 {
            format!("{rest} x{count}")
        } else {
            rest.into()
        };
    }
    found.remove("");
    found
}

fn is(data: &str) -> String {
    let digest = &sha256(data.as_bytes()).to_string()[..8];
    format!("file {} {digest} 640", data.len())
}

fn expect(found: &BTreeMap<String, String>, wanted: &[(&str, &str)]) {
    let wanted: BTreeMap<String, String> = wanted
        .iter()
        .map(|(path, text)| ((*path).into(), (*text).into()))
        .collect();
    assert_eq!(*found, wanted);
}

#[test]
fn whiteouts_take_away_what_is_below_wherever_they_stand() {
    let below = vec![
        dir("d"),
        file("d/a", "1"),
        file("d/b", "2"),
        dir("e"),
        file("e/x", "3"),
        file("f", "4"),
    ];
    let changes = [
        file("d/new", "5"),
        entry(b"d/.wh.a", b'0', b"", b""),
        dir("e"),
        file("e/y", "6"),
        entry(b"e/.wh..wh..opq", b'0', b"", b""),
        entry(b".wh.f", b'0', b"", b""),
    ];
    let wanted = [
        ("/d", "dir 640"),
        ("/d/b", &is("2")),
        ("/d/new", &is("5")),
        ("/e", "dir 640"),
        ("/e/y", &is("6")),
    ];
    expect(&tree(&[below.clone(), changes.to_vec()]), &wanted);
    let backwards: Vec<_> = changes.iter().rev().cloned().collect();
    expect(&tree(&[below, backwards]), &wanted);
}

#[test]
fn a_whiteout_leaves_its_own_layer_alone() {
    let found = tree(&[
        vec![dir("d"), file("d/old", "1"), file("g", "1")],
        vec![
            file("d/new", "2"),
            entry(b".wh.d", b'0', b"", b""),
            entry(b".wh.g", b'1', b".wh..wh.aufs", b""),
            file("g", "3"),
        ],
    ]);
    let wanted = [("/d", "dir 755"), ("/d/new", &is("2")), ("/g", &is("3"))];
    expect(&found, &wanted);
}

#[test]
fn names_that_are_no_utf8_are_whited_out() {
    let found = tree(&[
        vec![
            dir("d"),
            entry(b"d/\xff\xfe", b'0', b"", b"1"),
            entry(b"\xe9/x", b'0', b"", b"2"),
            file("keep", "3"),
        ],
        vec![
            entry(b"d/.wh.\xff\xfe", b'0', b"", b""),
            entry(b"\xe9/.wh..wh..opq", b'0', b"", b""),
        ],
    ]);
    let wanted = [
        ("/d", "dir 640"),
        ("/\\xe9", "dir 755"),
        ("/keep", &is("3")),
    ];
    expect(&found, &wanted);
}

#[test]
fn directories_and_files_take_each_others_place() {
    let found = tree(&[
        vec![
            file("a", "1"),
            dir("b"),
            file("b/x", "2"),
            symlink("c", "b"),
        ],
        vec![
            dir("a"),
            file("a/in", "3"),
            file("b", "4"),
            dir("c"),
            file("c/in", "5"),
        ],
        // A parent that is not listed takes a file's place too.
        vec![file("b/in", "6")],
    ]);
    let wanted = [
        ("/a", "dir 640"),
        ("/a/in", &is("3")),
        ("/b", "dir 755"),
        ("/b/in", &is("6")),
        ("/c", "dir 640"),
        ("/c/in", &is("5")),
    ];
    expect(&found, &wanted);
}

#[test]
fn hard_links_reach_lower_layers_and_outlive_their_target() {
    let two = |data| is(data) + " x2";
    let found = tree(&[
        vec![file("a", "1"), file("b", "2"), symlink("s", "a")],
        vec![
            link("a2", "a"),
            link("b2", "b"),
            link("s2", "s"),
            entry(b".wh.a", b'0', b"", b""),
            file("b", "3"),
        ],
        // Found though this layer takes it away.
        vec![
            entry(b".wh.a2", b'0', b"", b""),
            link("a3", "a2"),
            link("a4", "a3"),
        ],
    ]);
    let wanted = [
        ("/a3", two("1")),
        ("/a4", two("1")),
        ("/b", is("3")),
        ("/b2", is("2")),
        ("/s", "link a 640 x2".into()),
        ("/s2", "link a 640 x2".into()),
    ];
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(path, it)| (*path, it.as_str()))
        .collect();
    expect(&found, &wanted);
}

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
fn attributes_of_directories_change_without_their_content() {
    let found = tree(&[
        vec![
            pax(b'x', &[("SCHILY.xattr.user.old", "1")]),
            dir("d"),
            file("d/x", "1"),
        ],
        vec![
            pax(
                b'x',
                &[
                    ("SCHILY.xattr.user.new", "2"),
                    ("SCHILY.xattr.com.apple.x", "3"),
                ],
            ),
            mode(dir("d"), 0o1777),
        ],
        // Implied: nothing changes.
        vec![file("d/y", "2")],
    ]);
    let wanted = [
        ("/d", "dir 1777 user.new=2"),
        ("/d/x", &is("1")),
        ("/d/y", &is("2")),
    ];
    expect(&found, &wanted);
}

#[test]
fn parents_are_found_through_links_and_never_outside() {
    let found = tree(&[
        vec![
            dir("usr/lib"),
            symlink("lib", "usr/lib"),
            symlink("up", "../../.."),
            symlink("abs", "/usr"),
        ],
        vec![
            file("lib/a", "1"),
            file("up/b", "2"),
            file("abs/c", "3"),
            file("../../d", "4"),
            file("/e", "5"),
            entry(b"lib/.wh.none", b'0', b"", b""),
        ],
        vec![entry(b"lib/.wh.a", b'0', b"", b""), link("a", "up/b")],
    ]);
    let two = is("2") + " x2";
    let wanted = [
        ("/usr", "dir 755"),
        ("/usr/lib", "dir 640"),
        ("/lib", "link usr/lib 640"),
        ("/up", "link ../../.. 640"),
        ("/abs", "link /usr 640"),
        ("/a", &two),
        ("/b", &two),
        ("/usr/c", &is("3")),
        ("/d", &is("4")),
        ("/e", &is("5")),
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

/// Text that differs from line to line.
fn text(from: usize, to: usize) -> String {
    (from..to).fold(String::new(), |mut text, line| {
        writeln!(text, "{line} {}", line * 7919).unwrap();
        text
    })
}

#[test]
fn only_blobs_with_final_data_are_kept_and_duplicates_stay_below() {
    let (one, two) = (text(0, 2000), text(5000, 9000));
    let built = build(&[
        layer(&[file("gone", &text(20_000, 22_000))]),
        layer(&[file("a", &one)]),
        layer(&[file("copy", &one), entry(b".wh.gone", b'0', b"", b"")]),
        layer(&[file("b", &two), file("copy2", &one)]),
    ]);
    let used: Vec<_> = built.merged.packed.blobs.iter().map(|it| &it.id).collect();
    assert_eq!(
        used,
        [&built.reports[1].blobs[0], &built.reports[3].blobs[0]]
    );
    assert_eq!(built.blobs().len(), 2);
    let statistics = built.merged.packed.statistics;
    assert_eq!(statistics.bytes, (3 * one.len() + two.len()) as u64);
    assert_eq!(statistics.unique_bytes, (one.len() + two.len()) as u64);
    // The layer's blob is what it is, whatever lies below it.
    let alone = build(&[layer(&[file("b", &two), file("copy2", &one)])]);
    assert_eq!(alone.reports[0].blobs, built.reports[3].blobs);
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

#[test]
fn known_layers_are_not_read_and_give_the_same_image() {
    let cache = tempfile::tempdir().unwrap();
    let layers = [
        layer(&[file("a", &text(0, 3000)), dir("d"), file("d/x", "1")]),
        layer(&[
            file("b", &text(9000, 9100)),
            entry(b"d/.wh.x", b'0', b"", b""),
        ]),
    ];
    let dict = || (&NoDict as &dyn Dict, DictId::default());
    let first = try_build(&layers, &options(), dict(), Some(cache.path())).unwrap();
    let again = try_build(&layers, &options(), dict(), Some(cache.path())).unwrap();
    assert_eq!((first.read, again.read), (2, 0));
    assert!(again.reports.iter().all(|report| report.reused));
    let bare = build(&layers);
    for other in [&again, &bare] {
        assert_eq!(other.merged.packed, first.merged.packed);
        assert_eq!(other.blobs(), first.blobs());
        assert_eq!(
            listing(&other.merged.tree, &other.merged.packed.chunks),
            listing(&first.merged.tree, &first.merged.packed.chunks)
        );
    }
    // Other options are another layer; so is one whose blob or record is gone.
    let lz4 = BuildOptions {
        compressor: Compressor::Lz4,
        ..options()
    };
    let other = try_build(&layers, &lz4, dict(), Some(cache.path())).unwrap();
    assert_eq!(other.read, 2);
    fs::remove_file(cache.path().join("blobs").join(&first.reports[1].blobs[0])).unwrap();
    let key = layer_key(&sha256(&layers[0]), &options(), &DictId::default());
    let record = cache.path().join("layers").join(key.to_string());
    let mut bytes = fs::read(&record).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&record, bytes).unwrap();
    let other = try_build(&layers, &options(), dict(), Some(cache.path())).unwrap();
    assert_eq!(other.read, 2);
    assert_eq!(other.merged.packed, first.merged.packed);
}

#[test]
fn chunks_of_a_dict_are_not_written_again() {
    let (one, two) = (text(0, 2000), text(5000, 9000));
    let base = build(&[layer(&[file("a", &one)])]);
    let packed = &base.merged.packed;
    let blobs = vec![(packed.blobs[0].clone(), packed.chunks.clone())];
    let dict = ChunkDict::new(blobs, options().algorithm);
    let cache = tempfile::tempdir().unwrap();
    let layers = [layer(&[file("x", &one), file("y", &two)])];
    for read in [1, 0] {
        let id = DictId(Digest([1; 32]));
        let built = try_build(&layers, &options(), (&dict, id), Some(cache.path())).unwrap();
        assert_eq!(built.read, read);
        let found = &built.merged.packed;
        assert_eq!(found.blobs.len(), 2);
        assert!(!found.blobs[0].dict && found.blobs[1].dict);
        assert_eq!(found.blobs[1].id, packed.blobs[0].id);
        assert_eq!(found.statistics.unique_bytes, two.len() as u64);
        assert_eq!(built.blobs().len(), 1);
    }
}

#[test]
fn damaged_records_are_refused_without_panic() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("record");
    let record = fs::File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let places = LayerPlaces {
        blobs: place.path(),
        record: (&record, &path),
    };
    let bytes = layer(&[file("a", &text(0, 3000)), dir("d"), link("b", "a")]);
    let digest = sha256(&bytes);
    let image = convert("layer", digest, &bytes[..], &NoDict, &options(), &places).unwrap();
    assert_eq!((image.layer(), image.entries()), (digest, 3));
    assert!(merge(&[image], &options()).is_ok());
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(LayerImage::open(&path).is_err(), "{cut}");
    }
    for at in 0..whole.len() - 32 {
        let mut mutant = whole.clone();
        mutant[at] ^= 0x15;
        // Somebody who wants to be believed.
        let (body, end) = mutant.split_at_mut(whole.len() - 32);
        end.copy_from_slice(&sha256(body).0);
        fs::write(&path, &mutant).unwrap();
        if let Ok(image) = LayerImage::open(&path) {
            let _ = merge(&[image], &options());
        }
    }
}

#[test]
fn a_layer_that_ends_with_an_error_leaves_no_blob() {
    struct Failing(std::io::Cursor<Vec<u8>>);
    impl std::io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(std::io::Error::other("its SHA-256 is another")),
                got => Ok(got),
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let record = tempfile::tempfile().unwrap();
    let places = LayerPlaces {
        blobs: dir.path(),
        record: (&record, Path::new("record")),
    };
    let bytes = layer(&[file("a", &text(0, 3000))]);
    let input = Failing(std::io::Cursor::new(bytes));
    let error = convert(
        "layer x",
        Digest::default(),
        input,
        &NoDict,
        &options(),
        &places,
    );
    let error = error.unwrap_err();
    assert!(error.to_string().contains("layer x"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
