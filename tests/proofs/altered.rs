//! Altered and hostile proofs.

use serde_json::{Value, json};
use tidegate::chunk::Digest;
use tidegate::image::witness::{WitnessError, check, prove};

use crate::images::{build, small_chunks};

/// Proofs of a small tree, so that all their bytes can be tried.
fn small_proofs() -> (Vec<Vec<u8>>, Digest) {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    crate::images::small_tree(&tree);
    let built = build(&tree, &temp.path().join("out"), &small_chunks(), &[]);
    let image = built.open();
    // A file with xattrs and chunks, a later name of a hard link, a link, an
    // empty file, a directory, the root.
    let paths = [
        "chunks",
        "other name",
        "link",
        "dir/nothing",
        "dir/empty",
        "dir",
        "fifo",
        "",
    ];
    let proofs = paths.map(|path| {
        let proof = prove(&image, path.as_bytes()).unwrap();
        serde_json::to_vec(&proof).unwrap()
    });
    (proofs.into(), built.root)
}

#[test]
fn any_bit_that_is_flipped_is_noticed() {
    let (proofs, root) = small_proofs();
    for proof in proofs {
        check(&proof, None).unwrap();
        check(&proof, Some(root)).unwrap();
        let mut altered = proof.clone();
        for at in 0..altered.len() {
            for bit in 0..8 {
                altered[at] ^= 1 << bit;
                let found = check(&altered, None);
                assert!(found.is_err(), "{}", String::from_utf8_lossy(&altered));
                altered[at] ^= 1 << bit;
            }
        }
        assert_eq!(altered, proof);
        for end in 0..proof.len() {
            check(&proof[..end], None).unwrap_err();
        }
    }
}

/// Other values that a field could have.
fn others(value: &Value) -> Vec<Value> {
    let mut found = vec![
        Value::Null,
        json!({}),
        json!([]),
        json!(""),
        json!(0),
        json!(1),
    ];
    match value {
        Value::Number(number) => {
            let number = i128::from(number.as_i64().unwrap_or(0));
            for near in [number + 1, number - 1, number + 128, number << 8, -number] {
                found.push(serde_json::from_str(&near.to_string()).unwrap());
            }
            found.push(json!(u64::MAX));
            found.push(json!(i64::MIN));
            found.push(json!(u32::MAX));
        }
        Value::String(text) => {
            found.push(json!(format!("{text}0")));
            found.push(json!(format!("/{text}")));
            found.push(json!(text.to_uppercase()));
            found.push(json!(text.get(1..).unwrap_or_default()));
            found.push(json!(format!("{text}/")));
            found.push(json!(format!("{text}/..")));
        }
        Value::Array(items) => {
            for at in 0..items.len() {
                let mut fewer = items.clone();
                fewer.remove(at);
                found.push(fewer.into());
                let mut more = items.clone();
                more.insert(at, items[at].clone());
                found.push(more.into());
                let mut moved = items.clone();
                moved.swap(at, 0);
                found.push(moved.into());
            }
        }
        Value::Object(fields) => {
            for name in fields.keys() {
                let mut fewer = fields.clone();
                fewer.remove(name);
                found.push(fewer.into());
            }
            let mut more = fields.clone();
            more.insert("further".to_owned(), json!(1));
            found.push(more.into());
        }
        Value::Null | Value::Bool(_) => {}
    }
    found.retain(|other| other != value);
    found
}

/// JSON pointers to every value of a document.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{number}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                places(field, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn any_field_that_is_altered_is_noticed() {
    let (proofs, _) = small_proofs();
    let mut tried = 0;
    for proof in proofs {
        let document: Value = serde_json::from_slice(&proof).unwrap();
        let mut all = Vec::new();
        places(&document, "", &mut all);
        for place in all {
            let original = document.pointer(&place).unwrap();
            for other in others(original) {
                let mut altered = document.clone();
                *altered.pointer_mut(&place).unwrap() = other.clone();
                let text = serde_json::to_vec(&altered).unwrap();
                let found = check(&text, None);
                assert!(found.is_err(), "{place}: {original} -> {other}");
                tried += 1;
            }
        }
    }
    assert!(tried > 5_000, "{tried}");
}

/// The claimed root is recomputed too, as whoever forges a proof would.
#[test]
fn a_forged_proof_has_another_root() {
    let (proofs, root) = small_proofs();
    let mut document: Value = serde_json::from_slice(&proofs[0]).unwrap();
    document["node"]["attributes"]["mode"] = json!("4777");
    let entry = |error: WitnessError| match error {
        WitnessError::Wrong { place, .. } => place,
        other => panic!("{other}"),
    };
    let text = serde_json::to_vec(&document).unwrap();
    assert_eq!(entry(check(&text, Some(root)).unwrap_err()), "steps[0]");
    let mut document: Value = serde_json::from_slice(&proofs[7]).unwrap();
    document["node"]["attributes"]["mode"] = json!("0777");
    let text = serde_json::to_vec(&document).unwrap();
    let Err(WitnessError::Root { found, .. }) = check(&text, None) else {
        panic!("the root directory's mode does not matter");
    };
    document["root"] = json!(format!("sha256:{found}"));
    let text = serde_json::to_vec(&document).unwrap();
    assert_eq!(check(&text, None).unwrap().root, found);
    let pinned = check(&text, Some(root));
    assert!(matches!(pinned, Err(WitnessError::Root { .. })));
}

#[test]
fn a_proof_of_one_name_does_not_serve_another() {
    let (proofs, _) = small_proofs();
    for (proof, other) in [
        (0, "/fifo"),
        (0, "/other name"),
        (1, "/dir/file"),
        (2, "/dir/same link"),
        (3, "/dir/file"),
        (3, "/nothing"),
        (5, "/"),
        (7, "/dir"),
    ] {
        let mut document: Value = serde_json::from_slice(&proofs[proof]).unwrap();
        document["path"] = json!(other);
        let text = serde_json::to_vec(&document).unwrap();
        assert!(check(&text, None).is_err(), "{other}");
    }
    // The later name without what it leads to, and a first name with it.
    let mut document: Value = serde_json::from_slice(&proofs[1]).unwrap();
    let canonical = document["canonical"].take();
    let fields = document.as_object_mut().unwrap();
    fields.remove("canonical").unwrap();
    check(&serde_json::to_vec(&document).unwrap(), None).unwrap_err();
    let mut document: Value = serde_json::from_slice(&proofs[0]).unwrap();
    document["canonical"] = canonical;
    check(&serde_json::to_vec(&document).unwrap(), None).unwrap_err();
}

#[test]
fn hostile_texts_are_refused() {
    let (proofs, _) = small_proofs();
    let deep = "[".repeat(1 << 20);
    let texts: [&[u8]; 8] = [
        b"",
        b"{}",
        b"null",
        b"\xff\xfe",
        deep.as_bytes(),
        b"{\"tidegate-proof\":1}",
        b"{\"tidegate-proof\":18446744073709551616}",
        b"[1,\"sha256:00\",{},\"/\",[],{}]",
    ];
    for text in texts {
        check(text, None).unwrap_err();
    }
    let twice = String::from_utf8(proofs[0].clone()).unwrap();
    let twice = twice.replacen("{", "{\"tidegate-proof\":1,", 1);
    check(twice.as_bytes(), None).unwrap_err();
    let newer = twice.replacen(
        "{\"tidegate-proof\":1,\"tidegate-proof\":1",
        "{\"tidegate-proof\":2",
        1,
    );
    let newer = check(newer.as_bytes(), None);
    assert!(matches!(newer, Err(WitnessError::Version(2))), "{newer:?}");
    // Counts that would take long if they were believed.
    let mut document: Value = serde_json::from_slice(&proofs[0]).unwrap();
    for place in [
        "/node/content/file/size",
        "/steps/0/list/count",
        "/steps/0/group",
    ] {
        let before = document.pointer(place).unwrap().clone();
        *document.pointer_mut(place).unwrap() = json!(u64::MAX);
        check(&serde_json::to_vec(&document).unwrap(), None).unwrap_err();
        *document.pointer_mut(place).unwrap() = before;
    }
}
