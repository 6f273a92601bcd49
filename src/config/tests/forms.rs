//! All forms, with the defaults that nydusd gives them.

use std::path::Path;
use std::time::Duration;

use super::{backend, v1};
use crate::backend::registry::credentials::Credential;
use crate::config::*;

const V1: &str = r#"{
  "device": {
    "id": "one",
    "backend": {
      "type": "registry",
      "config": {
        "scheme": "http", "host": "my-registry:5000", "repo": "test/repo",
        "auth": "dXNlcjpwYXNzd29yZA==", "skip_verify": true, "timeout": 7,
        "connect_timeout": 3, "retry_limit": 2, "blob_redirected_host": "blobs.example",
        "proxy": {"url": "http://p2p-proxy:65001", "fallback": false,
                  "ping_url": "http://p2p-proxy:40901/server/ping", "check_interval": 9}
      }
    },
    "cache": {"type": "blobcache", "compressed": true, "config": {"work_dir": "/cache"}}
  },
  "mode": "direct", "digest_validate": false, "iostats_files": true, "enable_xattr": true,
  "amplify_io": 131072,
  "fs_prefetch": {"enable": true, "threads_count": 10, "merging_size": 131072,
                  "bandwidth_rate": 1048576}
}"#;

const V2: &str = r#"
version = 2
id = "one"
[backend]
type = "registry"
[backend.registry]
scheme = "http"
host = "my-registry:5000"
repo = "test/repo"
auth = "dXNlcjpwYXNzd29yZA=="
skip_verify = true
timeout = 7
connect_timeout = 3
retry_limit = 2
blob_redirected_host = "blobs.example"
[backend.registry.proxy]
url = "http://p2p-proxy:65001"
fallback = false
ping_url = "http://p2p-proxy:40901/server/ping"
check_interval = 9
[cache]
type = "filecache"
compressed = true
[cache.filecache]
work_dir = "/cache"
[rafs]
mode = "direct"
batch_size = 131072
validate = false
enable_xattr = true
iostats_files = true
[rafs.prefetch]
enable = true
threads = 10
batch_size = 131072
bandwidth_limit = 1048576
prefetch_all = true
"#;

#[test]
fn the_forms_of_one_configuration_come_to_the_same() {
    let as_json: serde_json::Value = toml::from_str(V2).unwrap();
    let forms = [
        (V1.to_owned(), Form::V1),
        (V2.to_owned(), Form::V2Toml),
        (as_json.to_string(), Form::V2Json),
    ];
    for (text, form) in forms {
        let config = parse(&text).unwrap();
        assert_eq!(config.form, form);
        assert!(config.unknown.is_empty(), "{:?}", config.unknown);
        assert_eq!(config.id, "one");
        assert_eq!(config.cache.dir.as_deref(), Some(Path::new("/cache")));
        assert_eq!(config.batch_size, Some(131_072));
        let prefetch = PrefetchConfig {
            enable: true,
            all: true,
            threads: 10,
            batch_size: 131_072,
            bandwidth: 1 << 20,
        };
        assert_eq!(config.prefetch, Some(prefetch));
        let notes = config.notes.join("\n");
        for key in ["compressed", "validate", "iostats_files"] {
            assert!(notes.contains(key), "{form}: {notes}");
        }
        let BackendConfig::Registry(registry) = &config.sources[0].backend else {
            panic!("{config:?}");
        };
        assert_eq!(registry.scheme, Scheme::Http);
        assert_eq!(registry.host, "my-registry:5000");
        assert_eq!(registry.repo, "test/repo");
        let credential = Credential::Basic {
            user: "user".into(),
            password: "password".into(),
        };
        assert_eq!(registry.credential, Some(credential));
        let redirected = registry.blob_redirected_host.as_deref();
        assert_eq!(redirected, Some("blobs.example"));
        let network = &registry.network;
        assert_eq!(network.timeout, Some(Duration::from_secs(7)));
        assert_eq!(network.connect_timeout, Some(Duration::from_secs(3)));
        assert_eq!((network.retry_limit, network.skip_verify), (2, true));
        let proxy = network.proxy.as_ref().unwrap();
        assert_eq!(proxy.url.to_string(), "http://p2p-proxy:65001/");
        assert_eq!(proxy.check_interval, Duration::from_secs(9));
        assert!(!proxy.fallback);
    }
}

#[test]
fn what_is_left_out_is_as_in_nydusd() {
    let config = parse(&v1("registry", r#"{"host": "h", "repo": "r"}"#)).unwrap();
    let BackendConfig::Registry(registry) = &config.sources[0].backend else {
        panic!("{config:?}");
    };
    assert_eq!(
        (registry.scheme, registry.host.as_str()),
        (Scheme::Https, "h")
    );
    assert_eq!(registry.credential, None);
    let network = &registry.network;
    assert_eq!(network.timeout, Some(Duration::from_secs(5)));
    assert_eq!(network.connect_timeout, Some(Duration::from_secs(5)));
    assert!(network.proxy.is_none() && network.mirrors.is_empty());
    assert_eq!(config.cache, CacheConfig::default());
    assert_eq!(config.batch_size, Some(1 << 20));
    // The first form prefetches everything once it is told to prefetch.
    let prefetch = config.prefetch.unwrap();
    assert!(!prefetch.enable && prefetch.all);
    assert!(config.notes.is_empty(), "{:?}", config.notes);

    let text = "version = 2\n[rafs]\n[rafs.prefetch]\nenable = true\n";
    let prefetch = parse(text).unwrap().prefetch.unwrap();
    assert!(prefetch.enable && !prefetch.all);
    assert_eq!((prefetch.threads, prefetch.batch_size), (8, 1 << 20));
    assert_eq!(prefetch.bandwidth, 0);
    assert_eq!(parse("root = ''").unwrap().prefetch, None);
}

#[test]
fn an_empty_scheme_means_tls_and_a_token_goes_before_a_password() {
    let keys = r#"{"host": "h:1", "repo": "r", "scheme": "", "registry_token": "t",
                   "auth": "dXNlcjpwYXNzd29yZA=="}"#;
    let BackendConfig::Registry(registry) = backend("registry", keys) else {
        panic!("no registry");
    };
    assert_eq!(registry.scheme, Scheme::Https);
    assert_eq!(registry.host, "h:1");
    assert_eq!(registry.credential, Some(Credential::Bearer("t".into())));
}

#[test]
fn directories_are_read_in_order() {
    let keys = r#"{"dir": "/a", "alt_dirs": ["/b", "/c"], "readahead": true, "readahead_sec": 10}"#;
    let BackendConfig::Local(local) = backend("localfs", keys) else {
        panic!("no directory");
    };
    assert_eq!(local.dirs, ["/a", "/b", "/c"].map(std::path::PathBuf::from));
    assert_eq!(local.blob_file, None);
}

#[test]
fn buckets_have_endpoints_keys_and_prefixes() {
    let keys = r#"{"endpoint": "oss.example", "bucket_name": "b", "object_prefix": "nydus/",
                   "access_key_id": "", "access_key_secret": ""}"#;
    let BackendConfig::Oss(oss) = backend("oss", keys) else {
        panic!("no OSS");
    };
    assert_eq!(oss.endpoint.as_str(), "https://oss.example/");
    assert_eq!(oss.object_prefix, "nydus/");
    assert!(oss.keys.is_none() && oss.virtual_host.is_none());

    let keys = r#"{"region": "eu-west-1", "bucket_name": "b", "scheme": "http",
                   "endpoint": "127.0.0.1:9000", "access_key_id": "i", "access_key_secret": "s",
                   "session_token": "t", "style": "virtual-host"}"#;
    let BackendConfig::S3(s3) = backend("s3", keys) else {
        panic!("no S3");
    };
    assert_eq!(s3.endpoint.as_str(), "http://127.0.0.1:9000/");
    assert_eq!(s3.virtual_host, Some(true));
    let keys = s3.keys.unwrap();
    assert_eq!(keys.access_key_id.reveal(), "i");
    assert_eq!(keys.session_token.unwrap().reveal(), "t");

    let keys = r#"{"region": "eu-west-1", "bucket_name": "b"}"#;
    let BackendConfig::S3(s3) = backend("s3", keys) else {
        panic!("no S3");
    };
    let endpoint = s3.endpoint.as_str();
    assert_eq!(endpoint, "https://s3.eu-west-1.amazonaws.com/");
}

#[test]
fn web_servers_have_an_address_or_a_socket() {
    let keys = r#"{"addr": "http://127.0.0.1:9977", "path": "/namespace/blobs"}"#;
    let BackendConfig::Http(http) = backend("http-proxy", keys) else {
        panic!("no server");
    };
    let address = http.address.unwrap().to_string();
    assert_eq!(address, "http://127.0.0.1:9977/");
    assert_eq!(http.path, "/namespace/blobs");
    let BackendConfig::Http(http) = backend("http-proxy", r#"{"addr": "/run/blobs.sock"}"#) else {
        panic!("no server");
    };
    assert_eq!(http.address.unwrap_err(), Path::new("/run/blobs.sock"));
}

#[test]
fn mirrors_of_older_versions_are_read() {
    let keys = r#"{"host": "h", "repo": "r", "mirrors": [
        {"host": "http://dragonfly1.io:65001",
         "headers": {"X-Dragonfly-Registry": "https://index.docker.io"},
         "ping_url": "http://127.0.0.1:40901/server/ping",
         "health_check_interval": 6, "failure_limit": 4},
        {"host": "http://dragonfly2.io:65001", "auth_through": true}]}"#;
    let BackendConfig::Registry(registry) = backend("registry", keys) else {
        panic!("no registry");
    };
    let [first, second] = registry.network.mirrors.as_slice() else {
        panic!("not two");
    };
    assert_eq!(first.host.to_string(), "http://dragonfly1.io:65001/");
    assert_eq!(first.headers[0].0, "X-Dragonfly-Registry");
    assert_eq!(first.headers[0].1.reveal(), "https://index.docker.io");
    assert_eq!(first.health_check_interval, Duration::from_secs(6));
    assert_eq!((first.failure_limit, first.auth_through), (4, false));
    assert_eq!((second.failure_limit, second.auth_through), (5, true));
    assert_eq!(second.health_check_interval, Duration::from_secs(5));
}

#[test]
fn what_tidegate_adds_is_read_in_every_form() {
    let root = format!("sha256:{}", "5a".repeat(32));
    let ours = serde_json::json!({
        "root": root, "bootstrap_digest": root, "require_root": true, "policy": "/etc/policy.json",
        "cache_limit": "2GiB",
        "sources": [
            {"type": "localfs", "config": {"dir": "/peer"}},
            {"type": "http-proxy", "http-proxy": {"addr": "http://mirror"}},
        ],
    });
    let forms = [
        serde_json::json!({}),
        serde_json::json!({"version": 2}),
        serde_json::json!({"device": {}, "mode": "direct"}),
    ];
    for mut text in forms {
        let table = text.as_object_mut().unwrap();
        table.extend(ours.as_object().unwrap().clone());
        let config = parse(&text.to_string()).unwrap();
        assert!(config.unknown.is_empty(), "{:?}", config.unknown);
        assert_eq!(config.root, config.bootstrap_digest);
        assert_eq!(config.root.unwrap().to_string(), "5a".repeat(32));
        assert!(config.require_root);
        assert_eq!(config.cache.limit, Some(2 << 30));
        let keys = config.sources.iter().map(|source| source.key.as_str());
        let keys: Vec<_> = keys.collect();
        assert_eq!(keys, ["sources[0].config", "sources[1].http-proxy"]);
    }
}

#[test]
fn sources_stand_before_the_backend() {
    let mut text: serde_json::Value = serde_json::from_str(V1).unwrap();
    text["sources"] = serde_json::json!([{"type": "localfs", "localfs": {"dir": "/peer"}}]);
    let config = parse(&text.to_string()).unwrap();
    let kinds = config.sources.iter().map(|source| source.kind);
    assert_eq!(kinds.collect::<Vec<_>>(), ["localfs", "registry"]);
}

#[test]
fn tidegates_own_form_names_two_directories() {
    for (text, form) in [
        (
            r#"{"blobs": "/blobs", "cache": "/cache", "cache_limit": 4096}"#,
            Form::OwnJson,
        ),
        (
            "blobs = '/blobs'\ncache = '/cache'\ncache_limit = 4096",
            Form::OwnToml,
        ),
    ] {
        let config = parse(text).unwrap();
        assert_eq!(config.form, form);
        assert_eq!(config.cache.dir.as_deref(), Some(Path::new("/cache")));
        assert_eq!(config.cache.limit, Some(4096));
        let BackendConfig::Local(local) = &config.sources[0].backend else {
            panic!("{config:?}");
        };
        assert_eq!(local.dirs, [Path::new("/blobs")]);
    }
}
