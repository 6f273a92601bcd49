//! What is left when a daemon has ended.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clients::Client;
use crate::rig::{PROGRAM, assert_done, body, config, until};
use crate::support::frontend::Config;
use crate::support::image::{self, FILE};
use crate::support::mount::is_possible;
use crate::support::session::Session;

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/mounts").unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Processes and threads of this program below this process, and orphans of it.
fn processes(marker: &str) -> usize {
    let all = fs::read_dir("/proc").unwrap();
    let lines = all.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(marker))
        .count()
}

/// Check 38: in each mode, after each end.
#[test]
fn nothing_is_left_of_a_daemon_that_has_ended() {
    let image = image::small().unwrap();
    for mode in ["virtiofs", "fuse", "virtiofsd"] {
        if mode == "fuse" && !is_possible() {
            println!("SKIPPED: fuse needs root and /dev/fuse");
            continue;
        }
        for signal in [Some(Signal::SIGTERM), Some(Signal::SIGINT), None] {
            let home = tempfile::tempdir().unwrap();
            let path = |name: &str| home.path().join(name);
            for dir in ["tmp", "on", "shared", "cache"] {
                fs::create_dir(path(dir)).unwrap();
            }
            fs::write(path("shared/file"), "content").unwrap();
            let before = names(home.path());
            let marker = home.path().to_str().unwrap().to_owned();
            let mut command = Command::new(PROGRAM);
            match mode {
                "virtiofs" => command
                    .args(["nydusd", "virtiofs", "--pid-file"])
                    .arg(path("pid")),
                "fuse" => command
                    .args(["nydusd", "fuse", "--mountpoint"])
                    .arg(path("on")),
                _ => command
                    .args(["virtiofsd", "--shared-dir"])
                    .arg(path("shared")),
            };
            let (api, sock) = (path("api.sock"), path("fs.sock"));
            match mode {
                "virtiofsd" => command.arg("--socket-path").arg(&sock),
                "fuse" => command.arg("--apisock").arg(&api),
                _ => command.arg("--apisock").arg(&api).arg("--sock").arg(&sock),
            };
            let mut child = command
                .env("TMPDIR", path("tmp"))
                .current_dir(path("tmp"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            if mode != "virtiofsd" {
                until("it runs", || {
                    api.exists() && Client::Go.daemon(&api).json()["state"] == "RUNNING"
                });
                let text = body(&image.bootstrap(), &config(&image, &path("cache")));
                assert_done(&Client::Go.mount(&api, "/a", &text));
            }
            let guest = match mode {
                "fuse" => {
                    fs::read(path("on").join("a").join(FILE)).unwrap();
                    None
                }
                _ => Some(Session::mount(&sock, &Config::default()).unwrap()),
            };
            match signal {
                Some(signal) => kill(pid, signal).unwrap(),
                // The machine goes; nydusd waits for the next one.
                None if mode == "virtiofsd" => drop(guest),
                None => assert_done(&crate::clients::ask(&api, "PUT", "/api/v1/daemon/exit", "")),
            }
            let status = child.wait().unwrap();
            assert_eq!(status.code(), Some(0), "{mode}, {signal:?}");
            assert_eq!(names(home.path()), before, "{mode}, {signal:?}");
            assert!(names(&path("tmp")).is_empty());
            assert_eq!(names(&path("shared")).len(), 1);
            assert!(names(&path("on")).is_empty());
            let mounted: Vec<_> = mounts()
                .into_iter()
                .filter(|line| line.contains(&marker))
                .collect();
            assert!(mounted.is_empty(), "{mode}, {signal:?}: {mounted:?}");
            assert_eq!(processes(&marker), 0, "{mode}, {signal:?}");
        }
    }
}
