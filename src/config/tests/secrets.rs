//! Whatever is done with a configuration, its secrets are not seen.

use super::{refused, v1};
use crate::config::*;

const WORD: &str = "hunter2";

/// Keys of each type of source, with a secret wherever one may stand.
fn sources() -> Vec<(&'static str, serde_json::Value)> {
    let url = format!("http://user:{WORD}@host:1/?key={WORD}");
    let network = serde_json::json!({
        "proxy": {"url": url, "ping_url": url},
        "mirrors": [{"host": url, "ping_url": url, "headers": {"Authorization": WORD}}],
    });
    let keys = |more: serde_json::Value| {
        let mut keys = network.clone();
        let table = keys.as_object_mut().unwrap();
        table.extend(more.as_object().unwrap().clone());
        keys
    };
    // The base64 of user:hunter2.
    let auth = "dXNlcjpodW50ZXIy";
    vec![
        (
            "registry",
            keys(
                serde_json::json!({"host": "h", "repo": "r", "auth": auth, "registry_token": WORD}),
            ),
        ),
        (
            "s3",
            keys(serde_json::json!({
                "region": "r", "bucket_name": "b", "session_token": WORD,
                "access_key_id": WORD, "access_key_secret": WORD,
            })),
        ),
        (
            "oss",
            keys(serde_json::json!({
                "endpoint": "e", "bucket_name": "b",
                "access_key_id": WORD, "access_key_secret": WORD,
            })),
        ),
        ("http-proxy", keys(serde_json::json!({ "addr": url }))),
    ]
}

fn is_clean(text: &str) {
    assert!(!text.contains(WORD), "{text}");
    assert!(!text.contains("dXNlcjpodW50ZXIy"), "{text}");
}

#[test]
fn a_configuration_is_shown_without_its_secrets() {
    for (kind, keys) in sources() {
        let config = parse(&v1(kind, &keys.to_string())).unwrap();
        assert!(config.is_remote(), "{kind}");
        is_clean(&format!("{config:?}"));
        is_clean(&config.sources[0].shown.to_string());
    }
}

#[test]
fn directories_are_not_remote() {
    assert!(!parse(r#"{"blobs": "/b"}"#).unwrap().is_remote());
}

#[test]
fn errors_do_not_repeat_secrets() {
    // Every key in turn gets the secret in a form that it cannot have.
    for (kind, keys) in sources() {
        for name in keys.as_object().unwrap().keys() {
            for wrong in [
                serde_json::json!([WORD]),
                serde_json::json!({ WORD: 1 }),
                serde_json::json!(format!("ftp://{WORD}@x y")),
            ] {
                let mut keys = keys.clone();
                keys[name] = wrong;
                let text = v1(kind, &keys.to_string());
                if let Err(error) = parse(&text) {
                    is_clean(&error.to_string());
                }
            }
        }
    }
    for text in [
        format!("version = 2\n[backend.registry]\nauth = \"{WORD}\" x"),
        format!("{{\"device\": {{\"auth\": \"{WORD}\" \"x\"}}}}"),
        v1("registry", &format!("{{\"proxy\": \"http://u:{WORD}@p\"}}")),
        v1("registry", &format!("\"{WORD}\"")),
    ] {
        is_clean(&refused(&text));
    }
}
