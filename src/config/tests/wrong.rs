//! What is wrong is named by its path and never left out silently.

use super::{refused, v1};
use crate::config::*;

#[test]
fn wrong_values_are_named_by_their_path() {
    let registry = |more: &str| {
        let keys = format!(r#"{{"host": "h", "repo": "r"{more}}}"#);
        v1("registry", &keys)
    };
    let cases = [
        (
            v1("registry", r#"{"repo": "r"}"#),
            "device.backend.config.host",
            "missing",
        ),
        (
            registry(r#", "timeout": "soon""#),
            "device.backend.config.timeout",
            "u32",
        ),
        (
            registry(r#", "timeout": -1"#),
            "device.backend.config.timeout",
            "-1",
        ),
        (
            registry(r#", "scheme": "ftp""#),
            "device.backend.config.scheme",
            "https",
        ),
        (
            registry(r#", "proxy": {"url": "p2p"}"#),
            "device.backend.config.proxy.url",
            "URL",
        ),
        (
            registry(r#", "proxy": {"dragonfly_scheduler_endpoint": "x"}"#),
            "device.backend.config.proxy.dragonfly_scheduler_endpoint",
            "ping_url",
        ),
        (
            registry(r#", "mirrors": [{"host": "http://a"}, {"ping_url": "http://b"}]"#),
            "device.backend.config.mirrors[1].host",
            "missing",
        ),
        (
            registry(r#", "mirrors": [{"host": "http://a", "headers": {"a b": "c"}}]"#),
            "device.backend.config.mirrors[0].headers.a b",
            "header",
        ),
        (
            v1("registry", r#"{"host": "h/v2", "repo": "r"}"#),
            "device.backend.config.host",
            "port",
        ),
        (
            v1("registry", r#"{"host": "h", "repo": "../r"}"#),
            "device.backend.config.repo",
            "tag",
        ),
        (v1("localfs", "{}"), "device.backend.config.dir", "missing"),
        (
            v1("localdisk", "{}"),
            "device.backend.type",
            "not supported",
        ),
        (v1("nfs", "{}"), "device.backend.type", "localfs"),
        (
            v1("s3", r#"{"bucket_name": "b"}"#),
            "device.backend.config.region",
            "missing",
        ),
        (
            v1("oss", r#"{"endpoint": "e"}"#),
            "device.backend.config.bucket_name",
            "missing",
        ),
        (
            v1(
                "oss",
                r#"{"endpoint": "e", "bucket_name": "b", "access_key_id": "i"}"#,
            ),
            "device.backend.config.access_key_secret",
            "missing",
        ),
        (
            v1("http-proxy", r#"{"addr": "x"}"#),
            "device.backend.config.addr",
            "socket",
        ),
        (
            r#"{"device": {}, "mode": "direct"}"#.into(),
            "device.backend",
            "missing",
        ),
        (
            r#"{"device": {"backend": {"type": "localfs", "config": {"dir": "/"}}}}"#.into(),
            "mode",
            "missing",
        ),
        (
            "version = 2\n[backend]\ntype = 's3'".into(),
            "backend.s3",
            "missing",
        ),
        (
            "version = 2\n[rafs]\nmode = 'fast'".into(),
            "rafs.mode",
            "cached",
        ),
        (
            "version = 2\n[rafs]\nbatch_size = 268435457".into(),
            "rafs.batch_size",
            "256 MiB",
        ),
        (
            "version = 2\n[rafs.prefetch]\nenable = true\nthreads = 0".into(),
            "rafs.prefetch.threads",
            "1024",
        ),
        (
            "version = 2\n[rafs.prefetch]\nthreads = 1".into(),
            "rafs.prefetch.enable",
            "missing",
        ),
        (
            "version = 2\n[cache]\ntype = 'fscache'".into(),
            "cache.type",
            "blobcache",
        ),
        (
            "version = 2\n[cache]\ntype = 'blobcache'".into(),
            "cache.filecache",
            "missing",
        ),
        (
            "version = 2\n[cache]\ntype = 'blobcache'\n[cache.filecache]\nenable_encryption = true"
                .into(),
            "cache.filecache.enable_encryption",
            "encrypted",
        ),
        (
            "version = 2\n[overlay]\nupper_dir = '/u'".into(),
            "overlay",
            "not supported",
        ),
        (r#"{"root": "5a"}"#.into(), "key root:", "sha256:"),
        (r#"{"cache_limit": "much"}"#.into(), "cache_limit", "20GiB"),
        (r#"{"cache_limit": true}"#.into(), "cache_limit", "20GiB"),
        (r#"{"sources": {}}"#.into(), "sources", "list"),
        (r#"{"sources": [{}]}"#.into(), "sources[0].type", "missing"),
        (r#"{"sources": [7]}"#.into(), "sources[0]", "table"),
    ];
    for (text, path, reason) in cases {
        let said = refused(&text);
        assert!(said.contains(path), "{text}\n{said}");
        assert!(said.contains(reason), "{text}\n{said}");
    }
}

#[test]
fn errors_are_those_of_the_form_that_it_is() {
    let cases = [
        ("{\n  \"version\": 2,\n  \"id\": }", "JSON at line 3"),
        ("version = 2\nid = = 1", "TOML at line 2, column 6"),
        ("{\"version\": 3}", "only 2 is known"),
        ("version = '2'", "only 2 is known"),
        ("[backend]\ntype = 'oss'", "version = 2"),
        ("{\"cache\": {\"type\": \"blobcache\"}}", "version = 2"),
        ("[device]\nid = 'x'", "must be JSON"),
        ("[1, 2]", "TOML"),
        (
            "{\"root\": \"a\", \"root\": \"b\"}",
            "key root is there twice",
        ),
        (
            r#"{"device": {"backend": {"type": "x"}}}"#,
            "nydusd's JSON v1",
        ),
        ("version = 2\nid = 1", "nydusd's TOML v2"),
        (r#"{"version": 2, "id": 1}"#, "nydusd's JSON v2"),
        (r#"{"blobs": 1}"#, "Tidegate's own JSON"),
    ];
    for (text, wanted) in cases {
        let said = refused(text);
        assert!(said.contains(wanted), "{text}\n{said}");
    }
}

#[test]
fn unknown_keys_are_named_by_their_whole_path() {
    let keys = r#"{"host": "h", "repo": "r", "tymeout": 5, "proxy": {"nope": 1},
                   "mirrors": [{"host": "http://m", "weight": 2}]}"#;
    let text = v1("registry", keys);
    let mut text: serde_json::Value = serde_json::from_str(&text).unwrap();
    text["fs_prefetch"] = serde_json::json!({"enabled": true});
    text["device"]["cash"] = 1.into();
    text["rooot"] = "sha256:".into();
    let mut unknown = parse(&text.to_string()).unwrap().unknown;
    unknown.sort();
    let wanted = [
        "device.backend.config.mirrors[0].weight",
        "device.backend.config.proxy.nope",
        "device.backend.config.tymeout",
        "device.cash",
        "fs_prefetch.enabled",
        "rooot",
    ];
    assert_eq!(unknown, wanted);
}

#[test]
fn files_are_named_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let said = |path: &Path| load(path).unwrap_err().to_string();
    assert!(said(&path).contains("config.json"));
    std::fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(matches!(
        load(&path).unwrap_err(),
        ConfigError::InFile { source, .. } if matches!(*source, ConfigError::TooLarge)
    ));
    std::fs::write(&path, b"\xff").unwrap();
    assert!(matches!(
        load(&path).unwrap_err(),
        ConfigError::InFile { source, .. } if matches!(*source, ConfigError::NotText)
    ));
}

#[test]
fn depth_without_end_is_an_error() {
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(refused(&deep).contains("recursion"));
    let deep = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(refused(&deep).contains("TOML"));
}
