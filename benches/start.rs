//! How long a sandbox waits for its daemon, as Kata's runtimes wait, for two daemons
//! that are started in turn.
//!
//! Three clients: `poll` asks every 50 µs from exec on until RUNNING; `go` and `rust`
//! are the two runtimes, which look at intervals of theirs and then mount a directory.
//! `scripts/bench-start` has the command lines.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// Not all of it is used here.
#[allow(dead_code)]
#[path = "../tests/kata/clients.rs"]
mod clients;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Parser;

use clients::Client;

const GET: &str = "GET /api/v1/daemon HTTP/1.1\r\nHost: unix\r\n\r\n";

#[derive(Parser)]
struct Arguments {
    /// Command line of the first daemon; {api}, {sock} are replaced.
    #[arg(long)]
    a: String,
    /// Of the second.
    #[arg(long)]
    b: Option<String>,
    /// Starts of each daemon with each client.
    #[arg(long, default_value_t = 50)]
    starts: usize,
    /// cargo bench passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How somebody waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Poll,
    Go,
    Rust,
}

const ALL: [(Waits, &str); 3] = [
    (Waits::Poll, "poll: exec to RUNNING"),
    (Waits::Go, "Go runtime: start and mount"),
    (Waits::Rust, "Rust runtime: start and mount"),
];

/// One daemon under one client.
#[derive(Default)]
struct Row {
    times: Vec<Duration>,
    /// The API's socket was not there when it was first looked for.
    misses: usize,
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A number below `end` for waits that the runtimes draw.
fn draw(state: &mut u64, end: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    (*state >> 33) % end
}

fn main() {
    let arguments = Arguments::parse();
    let lines: Vec<&str> = [Some(arguments.a.as_str()), arguments.b.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    for (waits, title) in ALL {
        let mut rows: Vec<Row> = lines.iter().map(|_| Row::default()).collect();
        let mut dice = 7;
        for round in 0..arguments.starts {
            for turn in 0..lines.len() {
                // Neither is always the first.
                let which = (round + turn) % lines.len();
                one(lines[which], waits, &mut rows[which], &mut dice);
            }
        }
        print(title, &mut rows);
    }
}

fn print(title: &str, rows: &mut [Row]) {
    println!("{title}, {} starts each", rows[0].times.len());
    let mut halves = Vec::new();
    for (name, row) in ["A", "B"].iter().zip(rows) {
        row.times.sort();
        let at = |share: usize| row.times[(row.times.len() - 1) * share / 100];
        let micros = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "  {name}  p50 {:8.2} ms  p99 {:8.2} ms  first look missed {:5.1} %",
            micros(at(50)),
            micros(at(99)),
            100.0 * f64::from(u32::try_from(row.misses).unwrap())
                / f64::from(u32::try_from(row.times.len()).unwrap()),
        );
        halves.push(at(50).as_secs_f64());
    }
    if let [a, b] = halves[..] {
        println!("  A / B  p50 {:.3}", a / b);
    }
}

fn one(line: &str, waits: Waits, row: &mut Row, dice: &mut u64) {
    let home = tempfile::tempdir().unwrap();
    let (api, sock) = (home.path().join("api.sock"), home.path().join("fs.sock"));
    let shared = home.path().join("shared");
    fs::create_dir(&shared).unwrap();
    let words = line.split_whitespace().map(|word| match word {
        "{api}" => api.clone(),
        "{sock}" => sock.clone(),
        other => PathBuf::from(other),
    });
    let words: Vec<PathBuf> = words.collect();
    let begun = Instant::now();
    let child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _killed = Killed(child);
    let missed = !api.exists();
    match waits {
        Waits::Poll => poll(&api, begun),
        Waits::Go => go(&api, missed, dice),
        Waits::Rust => rust(&api),
    }
    if waits != Waits::Poll {
        let body = serde_json::json!({
            "fs_type": "passthrough_fs", "source": shared, "config": "",
        });
        let client = if waits == Waits::Go {
            Client::Go
        } else {
            Client::Rust
        };
        let answer = client.mount(&api, "/containers", &body.to_string());
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    row.times.push(begun.elapsed());
    row.misses += usize::from(missed);
    // The machine can connect, or the figure is worth nothing.
    UnixStream::connect(&sock).expect("RUNNING means that the socket listens");
}

fn is_running(api: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(api) else {
        return false;
    };
    let answer = clients::exchange(&mut stream, GET.as_bytes());
    answer.json()["state"] == "RUNNING"
}

fn poll(api: &Path, begun: Instant) {
    while !is_running(api) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never runs");
        sleep(Duration::from_micros(50));
    }
}

/// Three looks for the socket, 100 to 200 and 200 to 300 ms apart; then questions,
/// 20 ms and what is drawn apart, twice as long each time.
fn go(api: &Path, missed: bool, dice: &mut u64) {
    let mut missing = missed;
    for look in 1..3 {
        if !missing {
            break;
        }
        sleep(Duration::from_millis(100 * look + draw(dice, 100)));
        missing = !api.exists();
    }
    assert!(!missing, "the socket never appears");
    for question in 0..20 {
        if is_running(api) {
            return;
        }
        sleep(Duration::from_millis((20 << question) + draw(dice, 100)));
    }
    panic!("it never runs");
}

/// A question every 100 ms.
fn rust(api: &Path) {
    for _ in 0..100 {
        if is_running(api) {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("it never runs");
}
