//! Command lines, and what a daemon does about its limits.

use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use crate::clients::{BOTH, Client};
use crate::rig::{API, PROGRAM, api, image_body, line, mount, start, until};
use crate::support::daemon::{Daemon, SOCKET, WORK};
use crate::support::frontend::Config;
use crate::support::image::{self, FILE};

fn running(daemon: &Daemon) {
    for client in BOTH {
        until("it runs", || {
            client.daemon(&api(daemon)).json()["state"] == "RUNNING"
        });
    }
}

/// Check 3.
#[test]
fn all_command_lines_of_the_runtimes_serve() {
    let home = tempfile::tempdir().unwrap();
    let named = home.path().join("nydusd");
    symlink(PROGRAM, &named).unwrap();
    let named = named.to_str().unwrap();
    let sock = &format!("{WORK}/{API}");
    let log = &format!("{WORK}/nydusd");
    let default = ["--thread-pool-size=1", "--announce-submounts"];
    let legacy = ["--thread-pool-size=1", "-o", "announce_submounts"];
    let go = ["--log-level", "info", "--apisock", sock, "--sock", SOCKET];
    let debug = ["--log-level", "debug", "--apisock", sock, "--sock", SOCKET];
    let cases: [Vec<&str>; 8] = [
        [&[named, "virtiofs"], &go[..]].concat(),
        [&[named, "virtiofs"], &debug[..], &default].concat(),
        [&[named, "virtiofs", "--hybrid-mode"], &go[..], &legacy].concat(),
        [&[named, "virtiofs"], &default[..], &go, &["--hybrid-mode"]].concat(),
        [&[
            named, "-l", "warn", "virtiofs", "--sock", SOCKET, "-A", sock,
        ][..]]
        .concat(),
        [
            &[
                named,
                "--apisock",
                sock,
                "--id",
                "x",
                "--rlimit-nofile",
                "0",
            ][..],
            &["virtiofs", "--sock", SOCKET],
        ]
        .concat(),
        [
            &[
                PROGRAM,
                "nydusd",
                "virtiofs",
                "--xattr",
                "--cache=auto",
                "--xattr",
            ],
            &go[..],
        ]
        .concat(),
        [
            &[named, "virtiofs", "--upgrade", "--supervisor", "/none"],
            &go[..],
            &["-L", log],
        ]
        .concat(),
    ];
    for case in cases {
        let daemon = Daemon::command(&case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
        running(&daemon);
        let said = daemon.complaints();
        let ignored = said.matches("Options of virtiofsd do nothing").count();
        let given = case
            .iter()
            .any(|word| word.contains("submounts") || *word == "--xattr");
        let told = !case.contains(&"-L");
        assert_eq!(ignored, usize::from(given && told), "{case:?}: {said}");
    }
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(PROGRAM)
        .arg("nydusd")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// Check 4. That it takes less than a second is for quiet machines.
#[test]
fn wrong_command_lines_are_refused_with_a_reason() {
    let home = tempfile::tempdir().unwrap();
    let sock = home.path().join("api.sock");
    let sock = sock.to_str().unwrap();
    for (arguments, reason) in [
        (&["virtiofs", "--apisock", sock, "--bogus"][..], "--bogus"),
        (&["virtiofs", "--apisock", sock], "--sock"),
        (
            &["virtiofs", "--sock", "/none/s", "--apisock", sock],
            "/none/s",
        ),
        (&["virtiofs", "--sock", "s", "--log-level", "loud"], "loud"),
        (
            &[
                "virtiofs",
                "--sock",
                "s",
                "--apisock",
                sock,
                "--shared-dir",
                "/none",
            ],
            "/none",
        ),
        (
            &["virtiofs", "--sock", "s", "--apisock", sock, "-B", "/none"],
            "--config",
        ),
        (
            &[
                "virtiofs",
                "--sock",
                "s",
                "--apisock",
                sock,
                "-B",
                "/none",
                "-D",
                "/tmp",
            ],
            "/none",
        ),
        (
            &["virtiofs", "--fd", "77", "--apisock", sock],
            "descriptor 77",
        ),
        (
            &["virtiofs", "--fd", "1", "--apisock", sock],
            "descriptor 1",
        ),
        (&["fuse", "--apisock", sock], "--mountpoint"),
        (
            &["fuse", "--apisock", sock, "--mountpoint", "/", "--upgrade"],
            "--upgrade",
        ),
        (
            &["singleton", "--fscache", "/tmp", "--apisock", sock],
            "singleton",
        ),
        (&["--apisock", sock], "--mountpoint"),
    ] {
        let (status, _, said) = run(arguments);
        assert!(matches!(status, Some(1 | 2)), "{arguments:?}: {said}");
        assert!(said.contains(reason), "{arguments:?}: {said}");
        assert!(!home.path().join("api.sock").exists(), "{arguments:?}");
    }
    let (status, shown, _) = run(&["virtiofs", "--help"]);
    assert_eq!(status, Some(0));
    assert!(shown.contains("--apisock"), "{shown}");
    let (status, shown, _) = run(&["--version"]);
    assert_eq!(status, Some(0));
    assert!(shown.starts_with("nydusd "), "{shown}");
}

/// Check 20.
#[test]
fn a_limit_that_cannot_be_raised_costs_one_warning() {
    let api_socket = format!("{WORK}/{API}");
    let words = line(&api_socket, &[]);
    let mut wrapped = vec!["setpriv", "--bounding-set=-sys_resource", "sh", "-c"];
    wrapped.extend(["ulimit -n 512; exec \"$0\" \"$@\""]);
    wrapped.extend(words);
    let daemon = Daemon::command(&wrapped).unwrap();
    running(&daemon);
    let said = daemon.complaints();
    assert_eq!(said.matches("limit of open files").count(), 1, "{said}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    assert!(files.unwrap().contains(" 512 "), "{limits}");
}

/// Check 19.
#[test]
fn the_process_that_was_started_does_the_work() {
    let image = image::small().unwrap();
    let daemon = start(&[]);
    mount(&daemon, "/rafs/1/lowerdir", &image);
    let mut guest = daemon.mount(&Config::default()).unwrap();
    let node = guest.resolve(&format!("/rafs/1/lowerdir/{FILE}")).unwrap();
    guest.read(node, 0, 0, 4096).unwrap();
    let of =
        |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", daemon.pid())).unwrap();
    let parent = format!("PPid:\t{}\n", std::process::id());
    assert!(of("status").contains(&parent), "{}", of("status"));
    assert!(of("io").lines().any(|line| line.starts_with("rchar: ")));
    let files = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let bootstrap = image.bootstrap();
    let open = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    assert!(open.into_iter().any(|file| file == bootstrap));
    assert!(daemon.threads().unwrap() > 4);
}

#[test]
fn an_image_can_be_named_on_the_command_line() {
    let image = image::small().unwrap();
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config.json");
    let text = crate::rig::config(&image, &home.path().join("cache"));
    std::fs::write(&config, text.to_string()).unwrap();
    let list = home.path().join("list");
    std::fs::write(&list, format!("/{FILE}\n")).unwrap();
    let bootstrap = image.bootstrap();
    let named = [
        "-B",
        bootstrap.to_str().unwrap(),
        "--config",
        config.to_str().unwrap(),
    ];
    for (more, path) in [
        (&[][..], FILE.to_owned()),
        (&["-m", "/a/b"], format!("/a/b/{FILE}")),
        (
            &["--prefetch-files", list.to_str().unwrap()],
            FILE.to_owned(),
        ),
    ] {
        let daemon = start(&[&named[..], more].concat());
        let mut guest = daemon.mount(&Config::default()).unwrap();
        guest.resolve(&path).unwrap();
        let seen = Client::Go.daemon(&api(&daemon)).json();
        assert_eq!(seen["backend_collection"].as_object().unwrap().len(), 1);
    }
    let again = start(&named);
    let taken = Client::Go.mount(&api(&again), "/", &image_body(&again, &image));
    assert_eq!(taken.status, 500);
}
