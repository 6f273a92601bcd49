//! Configurations and policies that say what may be served.

use std::fs;
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::support::image::{self, FILE, Image};

/// Runs `tidegate cat` with a configuration; whether it served, and what it
/// said.
fn cat(image: &Image, config: &str, arguments: &[&str]) -> (bool, String) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config");
    fs::write(&path, config).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["cat", "--bootstrap"])
        .arg(image.bootstrap())
        .arg("--config")
        .arg(&path)
        .args(arguments)
        .arg(format!("/{FILE}"))
        .output()
        .unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    (out.status.success(), said)
}

fn bootstrap_digest(image: &Image) -> String {
    let digest = Sha256::digest(fs::read(image.bootstrap()).unwrap());
    format!("sha256:{}", hex::encode(digest))
}

#[test]
fn every_form_serves_an_image_without_further_options() {
    let image = image::small().unwrap();
    let blobs = image.blobs().display().to_string();
    let root = image.root().unwrap();
    let v1 = serde_json::json!({
        "device": {"backend": {"type": "localfs", "config": {"dir": blobs}}},
        "mode": "direct", "root": root, "require_root": true,
    });
    let v2 = serde_json::json!({
        "version": 2, "root": root, "require_root": true,
        "backend": {"type": "localfs", "localfs": {"dir": "/nowhere", "alt_dirs": [blobs]}},
    });
    let toml = format!(
        "version = 2\nroot = '{root}'\n[backend]\ntype = 'localfs'\n\
         [backend.localfs]\ndir = '{blobs}'\n"
    );
    let own = serde_json::json!({"blobs": blobs, "root": root, "require_root": true});
    for config in [v1.to_string(), v2.to_string(), toml, own.to_string()] {
        let (served, said) = cat(&image, &config, &[]);
        assert!(served, "{config}\n{said}");
        assert!(said.contains("is pinned"), "{said}");
    }
}

#[test]
fn a_bootstrap_digest_pins_and_another_is_refused() {
    let image = image::small().unwrap();
    let blobs = image.blobs().display().to_string();
    let right = bootstrap_digest(&image);
    let config = |digest: &str| {
        serde_json::json!({"blobs": blobs, "bootstrap_digest": digest, "require_root": true})
            .to_string()
    };
    let (served, said) = cat(&image, &config(&right), &[]);
    assert!(served, "{said}");
    let wrong = format!("sha256:{}", "5a".repeat(32));
    let (served, said) = cat(&image, &config(&wrong), &[]);
    assert!(
        !served && said.contains(&right) && said.contains(&wrong),
        "{said}"
    );
}

#[test]
fn a_policy_allows_what_it_lists_and_nothing_else() {
    let image = image::small().unwrap();
    let home = tempfile::tempdir().unwrap();
    let policy = home.path().join("policy.json");
    let config = serde_json::json!({
        "blobs": image.blobs(), "policy": policy, "require_root": true,
    })
    .to_string();
    let (root, file) = (image.root().unwrap(), bootstrap_digest(&image));
    let other = format!("sha256:{}", "5a".repeat(32));
    let cases = [
        (serde_json::json!({"roots": [other, root]}), true),
        (serde_json::json!({"bootstrap_digests": [file]}), true),
        (serde_json::json!({"roots": [other]}), false),
        (serde_json::json!({"roots": []}), false),
        (
            serde_json::json!({"roots": [other], "require": false}),
            false,
        ),
        (serde_json::json!({"rots": [root]}), false),
    ];
    for (text, wanted) in cases {
        fs::write(&policy, text.to_string()).unwrap();
        let (served, said) = cat(&image, &config, &[]);
        assert_eq!(served, wanted, "{text}\n{said}");
    }
    fs::write(&policy, serde_json::json!({"roots": [other]}).to_string()).unwrap();
    let (served, said) = cat(&image, &config, &["--root", &root]);
    assert!(!served && said.contains("policy"), "{said}");
    fs::remove_file(&policy).unwrap();
    let (served, said) = cat(&image, &config, &[]);
    assert!(!served && said.contains("policy.json"), "{said}");
}

#[test]
fn wrong_keys_are_named_and_unknown_ones_warned_about() {
    let image = image::small().unwrap();
    let config = r#"{"device": {"backend": {"type": "localfs", "config": {"dir": 7}}},
                     "mode": "direct"}"#;
    let (served, said) = cat(&image, config, &[]);
    assert!(!served, "{said}");
    assert!(said.contains("device.backend.config.dir"), "{said}");
    let config = serde_json::json!({"blobs": image.blobs(), "cacheing": 1}).to_string();
    let (served, said) = cat(&image, &config, &[]);
    assert!(
        served && said.contains("key cacheing is not known"),
        "{said}"
    );
}
