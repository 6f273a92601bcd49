//! The API: what is answered to whom, and what never is.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use base64::Engine as _;
use serde_json::json;

use crate::clients::{BOTH, Client, ask, exchange, read_answer};
use crate::rig::{PROGRAM, api, assert_done, body, config, image_body, mount, start, until};
use crate::support::daemon::connect;
use crate::support::frontend::Config;
use crate::support::image::{self, FILE};

const AT: &str = "/rafs/0b1c-2.d/lowerdir";

/// Checks 8 and 10.
#[test]
fn both_runtimes_find_a_running_daemon_mount_and_unmount() {
    let image = image::small().unwrap();
    for client in BOTH {
        let daemon = start(&["--id", "sandbox"]);
        let socket = api(&daemon);
        let seen = client.daemon(&socket);
        assert_eq!(seen.status, 200);
        let seen = seen.json();
        assert_eq!(
            (&seen["state"], &seen["id"]),
            (&json!("RUNNING"), &json!("sandbox"))
        );
        for part in [
            "package_ver",
            "git_commit",
            "build_time",
            "profile",
            "rustc",
        ] {
            assert!(seen["version"][part].is_string(), "{seen}");
        }
        assert_eq!(seen["backend_collection"], json!({}));
        assert_done(&client.mount(&socket, AT, &image_body(&daemon, &image)));
        let seen = client.daemon(&socket).json();
        let shown = &seen["backend_collection"][AT];
        assert_eq!(shown["mountpoint"], AT, "{seen}");
        assert_eq!(shown["backend_type"], "localfs");
        let mut guest = daemon.mount(&Config::default()).unwrap();
        guest.resolve(&format!("{AT}/{FILE}")).unwrap();
        assert_done(&client.unmount(&socket, AT));
        assert!(guest.resolve(AT).is_err());
        let v2 = ask(&socket, "GET", "/api/v2/daemon", "").json();
        assert_eq!(v2["state"], "RUNNING");
        assert!(v2.get("backend_collection").is_none());
    }
}

/// Check 10: the registry here never answers.
#[test]
fn a_mount_is_answered_before_any_data_is_fetched() {
    let image = image::small().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = start(&[]);
    let config = json!({
        "device": {
            "id": "/7",
            "backend": {"type": "registry", "config": {
                "readahead": false, "host": silent.local_addr().unwrap().to_string(),
                "repo": "team/app", "auth": "dXNlcjpwYXNz", "scheme": "http",
                "skip_verify": false, "proxy": {"fallback": false}, "timeout": 5,
                "connect_timeout": 5, "retry_limit": 2,
            }},
            "cache": {"type": "blobcache", "config": {
                "work_dir": daemon.work().join("cache"), "disable_indexed_map": false,
            }},
        },
        "mode": "direct", "digest_validate": false, "enable_xattr": true,
        "fs_prefetch": {"enable": true, "prefetch_all": true, "threads_count": 8,
                        "merging_size": 1_048_576},
    });
    let body = body(&image.bootstrap(), &config);
    assert_done(&Client::Go.mount(&api(&daemon), AT, &body));
    let mut guest = daemon.mount(&Config::default()).unwrap();
    guest.resolve(&format!("{AT}/{FILE}")).unwrap();
}

/// Check 11.
#[test]
fn what_cannot_be_done_is_refused_as_the_runtimes_expect() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    let socket = api(&daemon);
    let good = image_body(&daemon, &image);
    mount(&daemon, AT, &image);
    for client in BOTH {
        let again = client.mount(&socket, AT, &good);
        assert_eq!(again.status, 500);
        assert!(again.message().contains("mounted"), "{again:?}");
        for answer in [
            client.unmount(&socket, "/none"),
            client.unmount(&socket, "/none"),
        ] {
            assert_done(&answer);
        }
    }
    let path = format!("/api/v1/mount?mountpoint={AT}x");
    let of = |fs_type: &str, source: &str, config: &str| {
        json!({"fs_type": fs_type, "source": source, "config": config}).to_string()
    };
    let bootstrap = image.bootstrap();
    let bootstrap = bootstrap.to_str().unwrap();
    for (method, path, body, status, reason) in [
        ("POST", path.as_str(), "{".to_owned(), 400, "JSON"),
        (
            "POST",
            &path,
            "{\"fs_type\":\"rafs\"}".to_owned(),
            400,
            "JSON",
        ),
        ("POST", "/api/v1/mount", good.clone(), 400, "mountpoint="),
        (
            "POST",
            "/api/v1/mount?mountpoint=rafs",
            good.clone(),
            400,
            "begin with /",
        ),
        (
            "POST",
            "/api/v1/mount?mountpoint=/a/../b",
            good.clone(),
            400,
            "..",
        ),
        ("PUT", &path, good.clone(), 500, "Nothing is mounted"),
        ("POST", &path, of("ext4", "/x", "{}"), 500, "ext4"),
        (
            "POST",
            &path,
            of("passthrough_fs", "/none", ""),
            500,
            "/none",
        ),
        (
            "POST",
            &path,
            of(
                "rafs",
                "/none/image.boot",
                &config(&image, "/tmp".as_ref()).to_string(),
            ),
            500,
            "/none/image.boot",
        ),
        (
            "POST",
            &path,
            of("rafs", bootstrap, "nonsense"),
            500,
            "configuration",
        ),
        (
            "POST",
            &path,
            of(
                "rafs",
                bootstrap,
                "{\"device\":{\"backend\":{\"type\":\"x\",\"config\":{}},\"cache\":{\"type\":\"\"}},\"mode\":\"direct\"}",
            ),
            500,
            "backend",
        ),
        ("GET", "/api/v1/nothing", String::new(), 404, "nothing"),
        (
            "PUT",
            "/api/v1/daemon/fuse/sendfd",
            String::new(),
            501,
            "hand",
        ),
    ] {
        let answer = ask(&socket, method, path, &body);
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        assert!(answer.message().contains(reason), "{answer:?}");
    }
    assert_done(&ask(&socket, "PUT", "/api/v1/daemon/start", ""));
    let mut guest = daemon.mount(&Config::default()).unwrap();
    guest.resolve(&format!("{AT}/{FILE}")).unwrap();
    assert!(guest.resolve(&format!("{AT}x")).is_err());
}

/// Check 12.
#[test]
fn credentials_are_in_no_answer_and_no_log() {
    const PASSWORD: &str = "correct-horse-battery";
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("user:{PASSWORD}"));
    let image = image::small().unwrap();
    let daemon = start(&["--log-level", "trace"]);
    let socket = api(&daemon);
    let config = |mode: &str| {
        json!({
            "device": {
                "backend": {"type": "registry", "config": {
                    "host": "127.0.0.1:1", "repo": "a/b", "auth": auth, "scheme": "http",
                    "proxy": {"url": format!("http://user:{PASSWORD}@127.0.0.1:1")},
                    "retry_limit": 1, "timeout": 1,
                }},
                "cache": {"type": mode, "config": {"work_dir": daemon.work().join("cache")}},
            },
            "mode": "direct",
            "unknown": PASSWORD.len(),
        })
    };
    let good = body(&image.bootstrap(), &config("blobcache"));
    let mut answers = vec![
        Client::Go.mount(&socket, AT, &good),
        Client::Rust.mount(&socket, AT, &good),
        Client::Go.mount(&socket, "/x", &body(&image.bootstrap(), &config("fscache"))),
        Client::Go.mount(&socket, "/x", &body("/none".as_ref(), &config("blobcache"))),
        Client::Go.mount(&socket, "/x", &good.replace("rafs", "rats")),
        Client::Go.mount(&socket, "/x", &good.replace('}', "")),
    ];
    assert_eq!(answers[0].status, 204);
    assert!(answers[1..].iter().all(|answer| answer.status >= 400));
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let file = guest.resolve(&format!("{AT}/{FILE}")).unwrap();
    assert!(guest.read(file, 0, 0, 4096).is_err());
    for path in [
        "/api/v1/daemon",
        "/api/v1/daemon/events",
        "/api/v1/config",
        "/api/v1/tidegate/info",
        "/metrics",
        "/api/v1/metrics/backend",
    ] {
        let answer = ask(&socket, "GET", path, "");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answers.push(answer);
    }
    answers.push(Client::Go.unmount(&socket, AT));
    let log = daemon.complaints();
    assert!(log.contains("Not mounted at /x"), "{log}");
    for secret in [PASSWORD, auth.as_str()] {
        assert!(!log.contains(secret), "{log}");
        for answer in &answers {
            assert!(!answer.body.contains(secret), "{answer:?}");
            assert!(!answer.head.contains(secret), "{answer:?}");
        }
    }
}

/// Check 13.
#[test]
fn idle_connections_and_large_bodies_are_no_trouble() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    let socket = api(&daemon);
    let get = b"GET /api/v1/daemon HTTP/1.1\r\nHost: unix\r\n\r\n";
    let mut idle: Vec<UnixStream> = (0..64).map(|_| connect(&socket).unwrap()).collect();
    for stream in &mut idle {
        assert_eq!(exchange(stream, get).status, 200);
    }
    assert_eq!(Client::Go.daemon(&socket).status, 200);
    // One that was idle is still good.
    assert_eq!(exchange(&mut idle[0], get).status, 200);

    let mut large: serde_json::Value = serde_json::from_str(&image_body(&daemon, &image)).unwrap();
    let name = format!("/{}", "x".repeat(199));
    large["prefetch_files"] = json!(vec![name; 6000]);
    let large = large.to_string();
    assert!(large.len() > 1 << 20);
    assert_done(&Client::Go.mount(&socket, "/large", &large));

    let text = image_body(&daemon, &image);
    let mut stream = connect(&socket).unwrap();
    stream
        .write_all(
            b"POST /api/v1/mount?mountpoint=/chunked HTTP/1.1\r\nHost: unix\r\n\
              Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n",
        )
        .unwrap();
    for part in text.as_bytes().chunks(100) {
        write!(stream, "{:x}\r\n", part.len()).unwrap();
        stream.write_all(part).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_done(&read_answer(&mut stream));
    let mut guest = daemon.mount(&Config::default()).unwrap();
    for at in ["/large", "/chunked"] {
        guest.resolve(&format!("{at}/{FILE}")).unwrap();
    }
}

#[test]
fn a_mount_that_hangs_holds_up_nobody_and_can_be_given_up() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    let socket = api(&daemon);
    // Opening a pipe for reading waits for somebody who writes.
    let pipe = daemon.work().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let hanging = body(&pipe, &config(&image, &daemon.work().join("cache")));
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| Client::Go.mount(&socket, "/slow", &hanging));
        let busy = || {
            let answer = Client::Go.mount(&socket, "/slow", &image_body(&daemon, &image));
            assert_ne!(answer.status, 204, "the other one came first");
            answer.message().contains("being made")
        };
        // To replace what is not mounted is refused, with this reason as soon as
        // the mount has begun.
        until("the mount begins", || {
            let answer = Client::Go.remount(&socket, "/slow", &hanging);
            answer.message().contains("being made")
        });
        assert!(busy());
        assert_eq!(Client::Rust.daemon(&socket).json()["state"], "RUNNING");
        mount(&daemon, "/quick", &image);
        assert_done(&Client::Go.unmount(&socket, "/slow"));
        mount(&daemon, "/slow", &image);
        // Lets the opening go on; what is read is no bootstrap.
        drop(std::fs::OpenOptions::new().write(true).open(&pipe).unwrap());
        let answer = asked.join().unwrap();
        assert_eq!(answer.status, 500, "{answer:?}");
    });
    let mut guest = daemon.mount(&Config::default()).unwrap();
    for at in ["/slow", "/quick"] {
        guest.resolve(&format!("{at}/{FILE}")).unwrap();
    }
}

#[test]
fn a_mount_is_pinned_by_its_configuration_and_by_the_host() {
    let image = image::small().unwrap();
    let root = image.root().unwrap();
    let other = format!("sha256:{}", "5a".repeat(32));
    let home = tempfile::tempdir().unwrap();
    let policy = home.path().join("policy.json");
    let policy_text = policy.to_str().unwrap();
    let with = |root: Option<&str>| {
        let mut config = config(&image, &home.path().join("cache"));
        if let Some(root) = root {
            config["root"] = json!(root);
        }
        body(&image.bootstrap(), &config)
    };
    let plain = start(&[]);
    for (root, status) in [(Some(root.as_str()), 204), (Some(&other), 500), (None, 204)] {
        let at = format!("/{status}{}", root.is_some());
        let answer = Client::Go.mount(&api(&plain), &at, &with(root));
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let strict = start(&["--require-root"]);
    for (root, status) in [(None, 500), (Some(root.as_str()), 204)] {
        let answer = Client::Go.mount(&api(&strict), "/a", &with(root));
        assert_eq!(answer.status, status, "{answer:?}");
    }
    std::fs::write(&policy, json!({"roots": [other]}).to_string()).unwrap();
    let held = start(&["--policy", policy_text]);
    let refused = Client::Go.mount(&api(&held), "/a", &with(Some(&root)));
    assert_eq!(refused.status, 500);
    assert!(refused.message().contains("policy"), "{refused:?}");
    // The policy is read at each mount.
    std::fs::write(&policy, json!({"roots": [root]}).to_string()).unwrap();
    assert_done(&Client::Go.mount(&api(&held), "/a", &with(None)));
    std::fs::write(&policy, "{").unwrap();
    assert_eq!(Client::Go.mount(&api(&held), "/b", &with(None)).status, 500);
}

#[test]
fn ctl_mounts_remounts_and_unmounts() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    let file = daemon.work().join("config.json");
    let text = config(&image, &daemon.work().join("cache"));
    std::fs::write(&file, text.to_string()).unwrap();
    let ctl = |words: &[&str]| {
        let mut command = std::process::Command::new(PROGRAM);
        command
            .args(["ctl", "--api-socket"])
            .arg(api(&daemon))
            .args(words);
        if words[0] != "umount" {
            command.arg("--bootstrap").arg(image.bootstrap());
            command.arg("--config").arg(&file);
        }
        command.output().unwrap().status.code()
    };
    assert_eq!(ctl(&["remount", "/a/b c"]), Some(1));
    assert_eq!(ctl(&["mount", "/a/b c", "--prefetch", "/hello"]), Some(0));
    assert_eq!(ctl(&["mount", "/a/b c"]), Some(1));
    assert_eq!(ctl(&["remount", "/a/b c"]), Some(0));
    let mut guest = daemon.mount(&Config::default()).unwrap();
    guest.resolve(&format!("/a/b c/{FILE}")).unwrap();
    assert_eq!(ctl(&["umount", "/a/b c"]), Some(0));
    assert_eq!(ctl(&["umount", "/a/b c"]), Some(0));
    assert!(guest.resolve("/a").is_err());
}
