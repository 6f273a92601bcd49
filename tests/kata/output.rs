//! Check 5: whoever reads standard output, or does not, the daemon serves.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::clients::{Answer, Client, ask};
use crate::rig::PROGRAM;
use crate::support::frontend::connect_patiently;

/// More lines than any pipe holds.
const LINES: usize = 200;

fn spawn(api: &Path, sock: &Path, out: Option<OwnedFd>) -> Child {
    let stream = |out: &Option<OwnedFd>| match out {
        Some(out) => Stdio::from(out.try_clone().unwrap()),
        None => Stdio::null(),
    };
    let child = Command::new(PROGRAM)
        .args(["nydusd", "virtiofs", "--log-level", "debug", "--apisock"])
        .arg(api)
        .arg("--sock")
        .arg(sock)
        .stdin(Stdio::null())
        .stdout(stream(&out))
        .stderr(stream(&out))
        .spawn()
        .unwrap();
    drop(out);
    connect_patiently(api, Duration::from_secs(20)).unwrap();
    child
}

/// A request that is refused, and told in the log with so many bytes.
fn refuse(api: &Path, bytes: usize) -> Answer {
    let source = format!("/{}", "x".repeat(bytes));
    let body = json!({"fs_type": "passthrough_fs", "source": source, "config": ""});
    Client::Go.mount(api, "/none", &body.to_string())
}

fn end(api: &Path, mut child: Child) {
    assert_eq!(ask(api, "PUT", "/api/v1/daemon/exit", "").status, 204);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (api, sock) = (home.path().join("api.sock"), home.path().join("fs.sock"));
    let (reader, writer) = std::io::pipe().unwrap();
    let child = spawn(&api, &sock, Some(writer.into()));
    for _ in 0..LINES {
        assert_eq!(refuse(&api, 4000).status, 500);
        assert_eq!(Client::Go.daemon(&api).json()["state"], "RUNNING");
    }
    // One line that would be too long for Kata.
    assert_eq!(refuse(&api, 200_000).status, 500);
    // The end does not wait, either; what the pipe took is whole lines of a
    // bearable length.
    end(&api, child);
    let mut text = Vec::new();
    File::from(OwnedFd::from(reader))
        .read_to_end(&mut text)
        .unwrap();
    let lines = text.split(|byte| *byte == b'\n');
    assert!(lines.clone().count() > 2);
    assert!(lines.into_iter().all(|line| line.len() < 64 << 10));
}

#[test]
fn a_pipe_that_is_read_gets_everything_in_lines_below_64_kib() {
    let home = tempfile::tempdir().unwrap();
    let (api, sock) = (home.path().join("api.sock"), home.path().join("fs.sock"));
    let (reader, writer) = std::io::pipe().unwrap();
    let child = spawn(&api, &sock, Some(writer.into()));
    let read = std::thread::spawn(move || {
        let mut text = Vec::new();
        File::from(OwnedFd::from(reader))
            .read_to_end(&mut text)
            .unwrap();
        text
    });
    for bytes in [10, 200_000, 20] {
        assert_eq!(refuse(&api, bytes).status, 500);
    }
    end(&api, child);
    let text = read.join().unwrap();
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    let told = |line: &&[u8]| String::from_utf8_lossy(line).contains("Not mounted");
    let told: Vec<_> = lines.iter().copied().filter(told).collect();
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|line| line.len() < 64 << 10));
    assert!(told[1].ends_with(b"(cut)"));
}

#[test]
fn a_pipe_without_a_reader_and_no_output_at_all_are_no_trouble() {
    for closed in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let (api, sock) = (home.path().join("api.sock"), home.path().join("fs.sock"));
        let writer = closed.then(|| {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            OwnedFd::from(writer)
        });
        let child = spawn(&api, &sock, writer);
        for _ in 0..10 {
            assert_eq!(refuse(&api, 100).status, 500);
        }
        assert_eq!(Client::Go.daemon(&api).json()["state"], "RUNNING");
        end(&api, child);
    }
}
