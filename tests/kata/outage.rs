//! A source that fails while a machine runs.

use std::fs;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::clients::{Client, ask};
use crate::rig::{api, assert_done, body, mount, start};
use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::image::{self, FILE, FILE_LEN, Image, file_byte, noise};
use crate::support::registry::{Auth, Fault, Registry, Settings, What};
use crate::support::session::Session;
use crate::support::session::wire::ROOT;

/// Longest that a read of a source that fails may take: timeout and retries of the
/// configuration, and what a busy machine adds.
const BOUND: Duration = Duration::from_secs(25);

/// Longest for what does not depend on that source, on a busy machine.
const SOON: Duration = Duration::from_secs(8);

const AT: &str = "/rafs/1/lowerdir";
const FILES: usize = 6;

fn remote() -> Image {
    image::build(
        |root| {
            (0..FILES).try_for_each(|file| {
                fs::write(root.join(format!("f{file}")), noise(file as u64, 70_000))
            })
        },
        &["--chunk-size", "64KiB"],
    )
    .unwrap()
}

fn config(registry: &Registry, daemon: &Daemon) -> Value {
    let auth = base64::engine::general_purpose::STANDARD.encode("reader:secret");
    json!({
        "device": {
            "backend": {"type": "registry", "config": {
                "scheme": "http", "host": registry.address().to_string(), "repo": "team/app",
                "auth": auth, "timeout": 1, "connect_timeout": 1, "retry_limit": 2,
            }},
            "cache": {"type": "blobcache", "config": {"work_dir": daemon.work().join("cache")}},
        },
        "mode": "direct",
        "fs_prefetch": {"enable": false},
    })
}

/// Reads a whole file of the remote image.
fn read(guest: &mut Session, file: usize) -> Result<Vec<u8>, Option<i32>> {
    let node = guest.resolve(&format!("{AT}/f{file}")).unwrap();
    let read = guest.read(node, 0, 0, 70_000);
    read.map_err(|failure| failure.errno())
}

/// Check 34.
fn outage(what: What, settings: Settings) {
    let (image, local) = (remote(), image::small().unwrap());
    let registry = Registry::start(&image.blobs(), settings).unwrap();
    let daemon = start(&[]);
    let shared = daemon.work().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "content").unwrap();
    let directory = json!({"fs_type": "passthrough_fs", "source": shared, "config": ""});
    let socket = api(&daemon);
    assert_done(&Client::Go.mount(&socket, "/containers", &directory.to_string()));
    let remote = body(&image.bootstrap(), &config(&registry, &daemon));
    assert_done(&Client::Go.mount(&socket, AT, &remote));
    mount(&daemon, "/rafs/2/lowerdir", &local);
    let frontend = Config {
        queues: 2,
        timeout: 4 * BOUND,
        ..Config::default()
    };
    let mut guest = daemon.mount(&frontend).unwrap();
    assert_eq!(read(&mut guest, 0).unwrap(), noise(0, 70_000));

    registry.change(|settings| settings.faults = vec![Fault::new(what)]);
    // One read waits for the source on the queue on which all others are done.
    let node = guest.resolve(&format!("{AT}/f1")).unwrap();
    let lost = crate::support::session::wire::Body::read(0, 0, 4096).0;
    let waiting = guest.submit(1, 15, node, &lost, Some(4096)).unwrap();
    guest.flush(1).unwrap();
    let begun = Instant::now();
    guest.queue = 2;
    for round in 0..20 {
        assert_eq!(read(&mut guest, 0).unwrap(), noise(0, 70_000));
        let file = guest.resolve(&format!("/rafs/2/lowerdir/{FILE}")).unwrap();
        let bytes = guest.read(file, 0, round, 100).unwrap();
        assert_eq!(bytes[0], file_byte(usize::try_from(round).unwrap()));
        assert!(bytes.len() == 100 && FILE_LEN > 200);
        let containers = guest.lookup(ROOT, b"containers").unwrap().node;
        let file = guest.lookup(containers, b"file").unwrap().node;
        let handle = guest.open(file).unwrap();
        assert_eq!(guest.read(file, handle, 0, 100).unwrap(), b"content");
        guest.release(file, handle).unwrap();
        assert_eq!(Client::Go.daemon(&socket).json()["state"], "RUNNING");
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let reply = guest.complete(1).unwrap();
    assert_eq!(reply.ticket.slot, waiting.slot);
    assert_eq!(guest.finish(reply).unwrap_err().errno(), Some(libc::EIO));
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    // Whoever reads on gets errors, soon, and few lines.
    let mut longest = Duration::ZERO;
    for file in 2..FILES {
        let begun = Instant::now();
        assert_eq!(read(&mut guest, file).unwrap_err(), Some(libc::EIO));
        longest = longest.max(begun.elapsed());
    }
    println!("the longest error took {longest:?}");
    assert!(longest < BOUND, "{longest:?}");
    let log = daemon.complaints();
    assert!(log.lines().count() < 150, "{log}");
    assert!(!log.contains("reader:secret"), "{log}");
    let events = ask(&socket, "GET", "/api/v1/daemon/events", "").json();
    assert!(events["total_errors"].as_u64() > Some(0), "{events}");

    registry.change(|settings| settings.faults.clear());
    let begun = Instant::now();
    while read(&mut guest, 2).is_err() {
        // A source that failed again and again is left alone for a while.
        assert!(begun.elapsed() < 4 * BOUND, "it stays away");
        std::thread::sleep(Duration::from_millis(50));
    }
    for file in 0..FILES {
        assert_eq!(read(&mut guest, file).unwrap(), noise(file as u64, 70_000));
    }
}

#[test]
fn a_registry_that_hangs_costs_its_readers_an_error_and_nobody_else_anything() {
    outage(What::Hang, Settings::default());
}

#[test]
fn a_registry_that_is_gone_costs_its_readers_an_error_and_nobody_else_anything() {
    outage(What::Close, Settings::default());
}

#[test]
fn an_expired_credential_costs_its_readers_an_error_and_nobody_else_anything() {
    let auth = Auth::Bearer {
        login: Some(("reader".into(), "secret".into())),
        expires_ms: 60_000,
        told_s: None,
        get_only: false,
    };
    let refused = What::Status {
        status: 401,
        retry_after: None,
    };
    let settings = Settings {
        auth,
        ..Settings::default()
    };
    outage(refused, settings);
}
