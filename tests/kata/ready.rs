//! When a daemon says that it is ready.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::clients::exchange;
use crate::rig::PROGRAM;

/// Starts; TIDEGATE_STARTS asks for more.
const STARTS: usize = 50;

const GET: &[u8] =
    b"GET /api/v1/daemon HTTP/1.1\r\nHost: unix\r\nUser-Agent: Go-http-client/1.1\r\n\
    Accept-Encoding: gzip\r\n\r\n";

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One start: how long until RUNNING, and until the API's socket was there.
fn start(home: &Path) -> (Duration, Duration) {
    let (api, sock) = (home.join("api.sock"), home.join("fs.sock"));
    let begun = Instant::now();
    let child = Command::new(PROGRAM)
        .args(["nydusd", "virtiofs", "--log-level", "info", "--apisock"])
        .arg(&api)
        .arg("--sock")
        .arg(&sock)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _killed = Killed(child);
    let mut there = None;
    loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never runs");
        if let Ok(mut stream) = UnixStream::connect(&api) {
            there.get_or_insert_with(|| begun.elapsed());
            let answer = exchange(&mut stream, GET).json();
            match answer["state"].as_str().unwrap() {
                "RUNNING" => break,
                "INIT" | "READY" => {}
                other => panic!("state {other}"),
            }
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    let running = begun.elapsed();
    // Whoever saw RUNNING launches the machine, which connects once.
    UnixStream::connect(&sock).expect("RUNNING means that the socket listens");
    (running, there.unwrap())
}

/// Check 6.
#[test]
fn running_is_said_only_when_the_socket_listens() {
    let starts = std::env::var("TIDEGATE_STARTS");
    let starts = starts.map_or(STARTS, |text| text.parse().unwrap());
    let mut times: Vec<(Duration, Duration)> = (0..starts)
        .map(|_| start(tempfile::tempdir().unwrap().path()))
        .collect();
    times.sort();
    let at = |share: usize| times[(starts - 1) * share / 100];
    println!(
        "{starts} starts: exec to RUNNING p50 {:?}, p99 {:?}; to the API's socket p50 {:?}",
        at(50).0,
        at(99).0,
        at(50).1
    );
}
