//! `ls --digests` and `prove` as they are used.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tidegate::path_text;

use crate::images::{Built, build, small_chunks};
use crate::source::Tree;

fn tidegate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["--log-level", "error"]).args(arguments);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn image_options(built: &Built) -> [String; 4] {
    let show = |path: &Path| path.to_str().unwrap().to_owned();
    let (boot, blobs) = (show(&built.bootstrap), show(&built.blobs));
    ["--bootstrap".to_owned(), boot, "--blobs".to_owned(), blobs]
}

fn with<'a>(first: &[&'a str], image: &'a [String], last: &[&'a str]) -> Vec<&'a str> {
    let image = image.iter().map(String::as_str);
    let first = first.iter().copied();
    first.chain(image).chain(last.iter().copied()).collect()
}

#[test]
fn the_bill_of_materials_lists_every_file() {
    let tree = Tree::new();
    let built = build(&tree.archive(), &tree.path("out"), &small_chunks(), &[]);
    let options = image_options(&built);
    let listed = text(&tidegate(&with(&["ls"], &options, &["--digests"])));
    let json = text(&tidegate(&with(
        &["ls"],
        &options,
        &["--digests", "--json"],
    )));
    let image = built.open();
    let mut files = 0;
    for (line, json) in listed.lines().zip(json.lines()) {
        let json: Value = serde_json::from_str(json).unwrap();
        let (sha256, rest) = line.split_at(64);
        let (node, path) = rest[1..].split_at(64);
        assert_eq!(json["path"], path[1..]);
        assert_eq!(json["node"], node);
        let bytes = path_text::read(&path[2..]).unwrap();
        let found = tidegate::fs::walk::find(&image, &bytes).unwrap();
        assert_eq!(found.digest.unwrap().to_string(), node);
        if json["type"] == "file" {
            files += 1;
            let wanted = hex::encode(Sha256::digest(tree.bytes(&bytes)));
            assert_eq!(
                (sha256, json["sha256"].as_str()),
                (&wanted[..], Some(sha256))
            );
        } else {
            assert_eq!((sha256.trim(), json["sha256"].as_str()), ("-", None));
        }
    }
    assert_eq!(listed.lines().count(), json.lines().count());
    assert_eq!(files, tree.files().count());
}

#[test]
fn without_a_section_there_are_no_node_digests_and_no_proofs() {
    let tree = Tree::new();
    let built = build(&tree.archive(), &tree.path("out"), &small_chunks(), &[]);
    let bytes = fs::read(&built.bootstrap).unwrap();
    fs::write(&built.bootstrap, &bytes[..bytes.len() - 4096]).unwrap();
    let options = image_options(&built);
    let line = text(&tidegate(&with(
        &["ls"],
        &options,
        &["--digests", "xattrs"],
    )));
    let wanted = format!("{} {:64} /xattrs\n", hex::encode(Sha256::digest(b"x")), "-");
    assert_eq!(line, wanted);
    let refused = tidegate(&with(&["prove"], &options, &["xattrs"]));
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("no integrity section"), "{error}");
}

#[test]
fn a_lost_blob_is_a_fault_and_not_an_empty_column() {
    let tree = Tree::new();
    let built = build(&tree.archive(), &tree.path("out"), &small_chunks(), &[]);
    fs::remove_dir_all(&built.blobs).unwrap();
    fs::create_dir(&built.blobs).unwrap();
    let options = image_options(&built);
    let listed = tidegate(&with(&["ls"], &options, &["--digests", "dir/short"]));
    assert_eq!(listed.status.code(), Some(1));
    assert_eq!(listed.stdout, b"");
    assert!(String::from_utf8_lossy(&listed.stderr).contains("/dir/short"));
}

#[test]
fn a_proof_is_made_and_checked_on_the_command_line() {
    let tree = Tree::new();
    let built = build(&tree.archive(), &tree.path("out"), &small_chunks(), &[]);
    let options = image_options(&built);
    let proof = text(&tidegate(&with(&["prove"], &options, &["some/later name"])));
    fs::remove_dir_all(tree.path("out")).unwrap();
    let (file, right) = (tree.path("proof"), tree.path("right"));
    fs::write(&file, &proof).unwrap();
    fs::write(&right, tree.bytes(b"dir/long")).unwrap();
    let (file, right) = (file.to_str().unwrap(), right.to_str().unwrap());
    let root = format!("sha256:{}", built.root);
    let checked = text(&tidegate(&[
        "prove", "--check", file, "--root", &root, "--file", right,
    ]));
    assert!(
        checked.contains(&root) && checked.contains("/some/later name"),
        "{checked}"
    );
    let json = text(&tidegate(&[
        "prove", "--check", file, "--json", "--root", &root,
    ]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["pinned"], &json["path"]),
        (&Value::Bool(true), &"/some/later name".into())
    );
    let unpinned = tidegate(&["prove", "--check", file]);
    assert!(unpinned.status.success());
    assert!(String::from_utf8_lossy(&unpinned.stderr).contains("--root"));

    let another = format!("sha256:{}", "1".repeat(64));
    let wrong = tree.path("wrong");
    fs::write(&wrong, b"other bytes").unwrap();
    let (wrong, altered) = (wrong.to_str().unwrap(), tree.path("altered"));
    fs::write(&altered, proof.replacen("4711", "4755", 1)).unwrap();
    for arguments in [
        &["prove", "--check", file, "--root", &another][..],
        &["prove", "--check", file, "--root", &root, "--file", wrong],
        &["prove", "--check", altered.to_str().unwrap()],
        &["prove", "--check", "/nowhere"],
    ] {
        let output = tidegate(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(output.stdout, b"");
    }
    for arguments in [
        &["prove"][..],
        &["prove", "--bootstrap", file],
        &["prove", "--check", file, "path"],
        &["prove", "--file", file],
    ] {
        assert_eq!(tidegate(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
