//! What a layer does to those below it.

use super::archive::{dir, entry, file, link, mode, pax, symlink};
use super::rig::{expect, is, tree};

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
