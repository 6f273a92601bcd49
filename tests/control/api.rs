//! What the API tells and does.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::rig::{API, ask, get, serve, socket, split};
use crate::support::frontend::Config;
use crate::support::image::{self, FILE, FILE_LEN};

#[test]
fn the_daemon_is_described_as_nydusd_describes_itself() {
    let image = image::small().unwrap();
    let daemon = serve(&image, &["--id", "one"]);
    // The socket listens a moment before it says so.
    let mut seen = get(&daemon, "/api/v1/daemon");
    for _ in 0..1000 {
        if seen["state"] == "RUNNING" {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        seen = get(&daemon, "/api/v1/daemon");
    }
    assert_eq!(seen["id"], "one");
    assert_eq!(seen["state"], "RUNNING");
    for key in [
        "package_ver",
        "git_commit",
        "build_time",
        "profile",
        "rustc",
    ] {
        assert!(seen["version"][key].is_string(), "{seen}");
    }
    let backend = &seen["backend_collection"]["/"];
    assert_eq!(backend["backend_type"], "localfs");
    assert_eq!(backend["mountpoint"], "/");
}

#[test]
fn what_a_guest_did_is_counted() {
    let image = image::small().unwrap();
    let daemon = serve(&image, &[]);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let node = guest.resolve(FILE).unwrap();
    let read = guest.read(node, 0, 0, FILE_LEN).unwrap();
    assert_eq!(read.len(), FILE_LEN);
    assert!(guest.getxattr(node, b"user.none").is_err());

    let fs = get(&daemon, "/api/v1/metrics");
    assert_eq!(fs["data_read"], FILE_LEN);
    assert_eq!(fs["fop_hits"].as_array().unwrap().len(), 15);
    assert_eq!(fs["fop_hits"][4], 1);
    assert_eq!(fs["fop_errors"][6], 1);
    let lookups = fs["fop_hits"][9].as_u64().unwrap();
    assert!(lookups >= 2, "{fs}");
    let dist = fs["read_latency_dist"].as_array().unwrap();
    assert_eq!(dist.iter().filter_map(|n| n.as_u64()).sum::<u64>(), 1);

    let backend = get(&daemon, "/api/v1/metrics/backend");
    assert!(backend["read_count"].as_u64().unwrap() >= 1, "{backend}");
    let cache = get(&daemon, "/api/v1/metrics/blobcache?id=/");
    assert!(cache["total"].as_u64().unwrap() >= 1, "{cache}");

    let (status, text) = ask(&socket(&daemon), "GET", "/metrics", "");
    assert_eq!(status, 200);
    let line = format!("tidegate_fuse_read_bytes_total{{mountpoint=\"/\"}} {FILE_LEN}\n");
    assert!(text.contains(&line), "{text}");
    assert!(
        text.contains("le=\"+Inf\"") && text.ends_with("# EOF\n"),
        "{text}"
    );
}

#[test]
fn info_tells_root_and_pin() {
    let image = image::small().unwrap();
    let root = image.root().unwrap();
    let daemon = serve(&image, &["--root", &root, "--cache-limit", "1GiB"]);
    let seen = get(&daemon, "/api/v1/tidegate/info");
    let served = &seen["instances"]["/"];
    assert_eq!(served["root"], root);
    assert_eq!(served["pinned"], true);
    assert_eq!(served["verify"], "always");
    assert_eq!(served["cache"]["limit"], 1_u64 << 30);
    assert_eq!(served["sources"][0]["type"], "localfs");
}

#[test]
fn nonsense_is_refused_with_a_reason_and_the_daemon_goes_on() {
    let image = image::small().unwrap();
    let daemon = serve(&image, &[]);
    let long = format!("{{\"log_level\": \"{}\"}}", "x".repeat(2 << 20));
    let cases = [
        ("GET", "/api/v1/nothing", "", 404),
        ("GET", "/api/v2/blobs?domain_id=x", "", 404),
        ("POST", "/api/v1/daemon", "", 405),
        ("PUT", "/api/v1/daemon", "{", 400),
        ("PUT", "/api/v1/daemon", "{\"log_level\": \"loud\"}", 400),
        ("PUT", "/api/v1/daemon", long.as_str(), 413),
        ("GET", "/api/v1/metrics?id=/other", "", 404),
        ("GET", "/api/v1/daemon/backend", "", 400),
        ("PUT", "/api/v1/config", "{\"nope\": \"\"}", 400),
        (
            "PUT",
            "/api/v1/config",
            "{\"proxy_url\": \"http://p\"}",
            501,
        ),
        ("PUT", "/api/v1/config", "{\"registry_auth\": \"\"}", 400),
    ];
    for (method, path, body, wanted) in cases {
        let (status, said) = ask(&socket(&daemon), method, path, body);
        assert_eq!(status, wanted, "{method} {path}: {said}");
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert!(said["code"].is_string(), "{said}");
        assert!(!said["message"].as_str().unwrap().is_empty(), "{said}");
    }
    let mut guest = daemon.mount(&Config::default()).unwrap();
    guest.resolve(FILE).unwrap();
}

#[test]
fn the_log_level_is_changed_and_errors_are_kept() {
    let image = image::small().unwrap();
    let daemon = serve(&image, &["--log-level", "error"]);
    let (status, _) = ask(
        &socket(&daemon),
        "PUT",
        "/api/v1/daemon",
        "{\"log_level\": \"info\"}",
    );
    assert_eq!(status, 204);
    std::fs::remove_dir_all(image.blobs()).unwrap();
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let node = guest.resolve(FILE).unwrap();
    assert!(guest.read(node, 0, 0, 4096).is_err());
    assert!(daemon.complaints().contains("connected"));
    let events = get(&daemon, "/api/v1/daemon/events");
    assert!(events["total_errors"].as_u64().unwrap() >= 1, "{events}");
    assert!(
        events["errors"].to_string().contains("Cannot fetch"),
        "{events}"
    );
}

#[test]
fn the_api_ends_the_daemon_and_removes_its_socket() {
    let image = image::small().unwrap();
    let mut daemon = serve(&image, &[]);
    let path = socket(&daemon);
    assert_eq!(ask(&path, "PUT", "/api/v1/daemon/exit", "").0, 204);
    let status = daemon.await_end(Duration::from_secs(10)).unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn metrics_by_tcp_are_all_there_is_by_tcp() {
    let image = image::small().unwrap();
    // Free until the daemon takes it, but for bad luck.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let daemon = serve(&image, &["--metrics-address", &free.to_string()]);
    // Answers begin a moment after the socket listens.
    assert_eq!(ask(&socket(&daemon), "GET", "/metrics", "").0, 200);
    let fetch = |path: &str| {
        let mut stream = TcpStream::connect(free).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        split(&text)
    };
    let (status, text) = fetch("/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("tidegate_image"), "{text}");
    assert_eq!(fetch("/api/v1/daemon").0, 404);
    assert_eq!(fetch("/api/v1/config").0, 404);
}

#[test]
fn clients_that_say_nothing_do_not_hold_up_the_guest() {
    let image = image::small().unwrap();
    let daemon = serve(&image, &[]);
    let path = socket(&daemon);
    let silent: Vec<_> = (0..100)
        .map(|_| crate::support::daemon::connect(&path).unwrap())
        .collect();
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let node = guest.resolve(FILE).unwrap();
    assert_eq!(guest.read(node, 0, 0, FILE_LEN).unwrap().len(), FILE_LEN);
    drop(silent);
    assert_eq!(ask(&path, "GET", "/api/v1/daemon", "").0, 200);
}

#[test]
fn ctl_prints_answers_and_fails_with_refusals() {
    let image = image::small().unwrap();
    let mut daemon = serve(&image, &[]);
    let ctl = |arguments: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["ctl", "--api-socket"])
            .arg(daemon.work().join(API))
            .args(arguments)
            .output()
            .unwrap();
        let text = [out.stdout, out.stderr].concat();
        (out.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = ctl(&["info"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&image.root().unwrap()), "{text}");
    assert!(ctl(&["metrics"]).1.contains("# EOF"));
    let (code, text) = ctl(&["log-level", "loud"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("log_level is off"), "{text}");
    assert_eq!(ctl(&["exit"]).0, Some(0));
    daemon.await_end(Duration::from_secs(10)).unwrap();
}

#[test]
fn an_api_socket_in_use_is_refused() {
    let image = image::small().unwrap();
    let daemon = serve(&image, &[]);
    let path = socket(&daemon).display().to_string();
    let refused = image.serve(&["--api-socket", &path]).unwrap_err();
    assert!(refused.to_string().contains("Another process"), "{refused}");
    assert_eq!(ask(&socket(&daemon), "GET", "/api/v1/daemon", "").0, 200);
}
