//! Credentials: replaced while they are used, and never seen.

use std::fs;
use std::path::Path;

use base64::Engine as _;

use crate::rig::{API, ask, get, socket};
use crate::support::daemon::{Daemon, WORK};
use crate::support::frontend::Config;
use crate::support::image::{self, FILE, FILE_LEN, Image};
use crate::support::registry::{Auth, Registry, Settings};

const PASSWORD: &str = "correct-horse-battery";

fn auth(password: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("user:{password}"))
}

/// A daemon at trace level that reads from `registry` with this password.
fn serve(image: &Image, registry: &Registry, home: &Path, password: &str) -> Daemon {
    let config = serde_json::json!({
        "device": {
            "backend": {"type": "registry", "config": {
                "scheme": "http", "host": registry.address().to_string(), "repo": "test/repo",
                "auth": auth(password), "retry_limit": 1,
            }},
            "cache": {"type": "blobcache", "config": {"work_dir": home.join("cache")}},
        },
        "mode": "direct",
    });
    let path = home.join("config.json");
    fs::write(&path, config.to_string()).unwrap();
    let mut line = vec!["--bootstrap".into(), image.bootstrap().into_os_string()];
    let api = format!("{WORK}/{API}");
    let path = path.display().to_string();
    for argument in [
        "--config",
        &path,
        "--api-socket",
        &api,
        "--log-level",
        "trace",
    ] {
        line.push(argument.into());
    }
    Daemon::tidegate(&line).unwrap()
}

fn guarded(image: &Image, auth: Auth) -> Registry {
    let settings = Settings {
        auth,
        ..Settings::default()
    };
    Registry::start(&image.blobs(), settings).unwrap()
}

fn basic() -> Auth {
    Auth::Basic {
        user: "user".into(),
        password: PASSWORD.into(),
    }
}

fn bearer() -> Auth {
    Auth::Bearer {
        login: Some(("user".into(), PASSWORD.into())),
        expires_ms: 60_000,
        told_s: Some(60),
        get_only: false,
    }
}

#[test]
fn a_credential_is_replaced_while_the_daemon_runs() {
    for kind in [basic(), bearer()] {
        let image = image::small().unwrap();
        let registry = guarded(&image, kind);
        let home = tempfile::tempdir().unwrap();
        let daemon = serve(&image, &registry, home.path(), "wrong");
        let mut guest = daemon.mount(&Config::default()).unwrap();
        let node = guest.resolve(FILE).unwrap();
        assert!(guest.read(node, 0, 0, 4096).is_err());
        let body = serde_json::json!({ "registry_auth": auth(PASSWORD) }).to_string();
        let (status, said) = ask(&socket(&daemon), "PUT", "/api/v1/config?id=/", &body);
        assert_eq!(status, 204, "{said}");
        assert_eq!(guest.read(node, 0, 0, FILE_LEN).unwrap().len(), FILE_LEN);
        let said = daemon.complaints();
        assert!(said.contains("Cannot fetch"), "{said}");
        assert!(!said.contains(&auth("wrong")), "{said}");
    }
}

#[test]
fn nothing_that_is_printed_or_answered_holds_a_secret() {
    for kind in [basic(), bearer()] {
        let image = image::small().unwrap();
        let registry = guarded(&image, kind);
        let home = tempfile::tempdir().unwrap();
        let daemon = serve(&image, &registry, home.path(), PASSWORD);
        let mut guest = daemon.mount(&Config::default()).unwrap();
        let node = guest.resolve(FILE).unwrap();
        assert_eq!(guest.read(node, 0, 0, FILE_LEN).unwrap().len(), FILE_LEN);
        let mut seen = String::new();
        for path in [
            "/api/v1/daemon",
            "/api/v1/daemon/events",
            "/api/v1/config",
            "/api/v1/metrics/backend",
            "/api/v1/tidegate/info",
            "/metrics",
        ] {
            let (status, body) = ask(&socket(&daemon), "GET", path, "");
            assert_eq!(status, 200, "{path}: {body}");
            seen.push_str(&body);
        }
        assert_eq!(get(&daemon, "/api/v1/config")["registry_auth"], "***");
        for body in [
            format!("{{\"registry_auth\": \"{PASSWORD}\"}}"),
            format!("{{\"{PASSWORD}\": 1}}"),
            format!("{{\"registry_auth\": [\"{PASSWORD}\"]}}"),
        ] {
            let (status, said) = ask(&socket(&daemon), "PUT", "/api/v1/config", &body);
            assert_eq!(status, 400, "{said}");
            seen.push_str(&said);
        }
        seen.push_str(&daemon.complaints());
        seen.push_str(&fs::read_to_string(daemon.work().join("stdout")).unwrap());
        let sent = registry
            .log()
            .into_iter()
            .filter_map(|entry| entry.authorization);
        let mut secrets = vec![PASSWORD.to_owned(), auth(PASSWORD)];
        secrets.extend(sent.filter_map(|sent| Some(sent.split_once(' ')?.1.to_owned())));
        for secret in secrets {
            assert!(!seen.contains(&secret), "{secret} in {seen}");
        }
    }
}

#[test]
fn a_daemon_with_a_registry_leaves_no_core_dump() {
    let image = image::small().unwrap();
    let registry = guarded(&image, basic());
    let home = tempfile::tempdir().unwrap();
    let daemon = serve(&image, &registry, home.path(), PASSWORD);
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = line.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{limits}");
}
