//! SIGTERM ends a daemon within a second, whatever it is doing.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::daemon::Daemon;
use crate::support::frontend::Config;
use crate::support::image::{self, Image, noise};
use crate::support::mount::{HostMount, is_possible};
use crate::support::session::wire::{Body, op};
use crate::support::session::{Failure, Session};

const LIMIT: Duration = Duration::from_secs(1);

/// Files of one chunk each.
const FILES: usize = 16;

/// Bytes of each.
const LEN: usize = 8192;

/// Ends a daemon that is `doing` something.
fn end(doing: &str, daemon: &mut Daemon) {
    assert!(daemon.socket().exists());
    let (status, took) = daemon.terminate(Duration::from_secs(10)).unwrap();
    println!("SIGTERM while {doing}: {took:?}");
    assert_eq!(status.code(), Some(0), "{}", daemon.complaints());
    assert!(took < LIMIT, "while {doing}: {took:?}");
    assert!(!daemon.socket().exists(), "the socket's file is left");
    assert!(daemon.last_counters().is_some(), "no counters");
}

fn name(number: usize) -> String {
    format!("file-{number:02}")
}

fn fill(root: &Path) -> io::Result<()> {
    (0..FILES).try_for_each(|n| fs::write(root.join(name(n)), noise(n as u64, LEN)))
}

/// An image whose blobs are in a file system that does not answer any more.
struct Stuck {
    image: Image,
    blobs: HostMount,
    _outer: Image,
}

impl Stuck {
    fn new() -> Self {
        let image = image::build(fill, &[]).unwrap();
        // The directory of blobs, as an image in turn, mounted on the host.
        let copy = |root: &Path| {
            for blob in fs::read_dir(image.blobs())? {
                let blob = blob?;
                fs::copy(blob.path(), root.join(blob.file_name()))?;
            }
            Ok(())
        };
        let outer = image::build(copy, &[]).unwrap();
        let blobs = HostMount::new(&outer.arguments()).unwrap();
        // Names are known to the kernel, data is not: opening works, reading
        // does not.
        for blob in fs::read_dir(blobs.path()).unwrap() {
            fs::File::open(blob.unwrap().path()).unwrap();
        }
        blobs.signal(Signal::SIGSTOP).unwrap();
        Self {
            image,
            blobs,
            _outer: outer,
        }
    }

    fn arguments(&self) -> Vec<OsString> {
        vec![
            "--bootstrap".into(),
            self.image.bootstrap().into(),
            "--blobs".into(),
            self.blobs.path().into(),
        ]
    }
}

/// The nodes of all files.
fn nodes(guest: &mut Session) -> Vec<u64> {
    let resolve = |n| guest.resolve(&name(n)).unwrap();
    (0..FILES).map(resolve).collect()
}

/// Puts a READ of every file on the queue.
fn read_all(guest: &mut Session, nodes: &[u64]) {
    let body = Body::read(0, 0, u32::try_from(LEN).unwrap()).0;
    for &node in nodes {
        guest.submit(1, op::READ, node, &body, Some(LEN)).unwrap();
    }
    guest.flush(1).unwrap();
}

fn deep() -> Config {
    Config {
        depth: 2 * FILES,
        reply_max: 64 << 10,
        ..Config::default()
    }
}

#[test]
fn sigterm_ends_a_daemon_that_listens() {
    let image = image::small().unwrap();
    end("listening", &mut image.serve(&[]).unwrap());
}

#[test]
fn sigterm_ends_a_daemon_with_an_idle_guest() {
    let image = image::small().unwrap();
    let mut daemon = image.serve(&[]).unwrap();
    let mut guest = daemon.mount(&Config::default()).unwrap();
    guest.resolve(image::FILE).unwrap();
    end("connected", &mut daemon);
}

#[test]
fn sigterm_ends_a_daemon_with_sixteen_misses_under_way() {
    if !is_possible() {
        return;
    }
    let stuck = Stuck::new();
    let mut daemon = Daemon::tidegate(&stuck.arguments()).unwrap();
    let mut guest = daemon.mount(&deep()).unwrap();
    let nodes = nodes(&mut guest);
    read_all(&mut guest, &nodes);
    let start = Instant::now();
    while daemon.counters().unwrap()["misses"] != FILES {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    assert!(guest.try_complete(1).unwrap().is_none(), "no miss");
    end("sixteen misses are under way", &mut daemon);
}

#[test]
fn sigterm_ends_a_daemon_under_load() {
    let image = image::build(fill, &[]).unwrap();
    let mut daemon = image.serve(&[]).unwrap();
    let config = Config {
        timeout: Duration::from_secs(2),
        ..deep()
    };
    let mut guest = daemon.mount(&config).unwrap();
    let nodes = nodes(&mut guest);
    let (warm, is_warm) = channel();
    let load = thread::spawn(move || {
        for round in 0.. {
            if round == 3 {
                warm.send(()).unwrap();
            }
            read_all(&mut guest, &nodes);
            for _ in 0..FILES {
                match guest.complete(1) {
                    Ok(reply) => drop(guest.body(reply).unwrap()),
                    Err(failure) => return failure,
                }
            }
        }
        unreachable!("the daemon ends first")
    });
    is_warm.recv().unwrap();
    end("under load", &mut daemon);
    assert!(matches!(load.join().unwrap(), Failure::Lost(_)));
}

#[test]
fn sigterm_unmounts() {
    if !is_possible() {
        return;
    }
    let image = image::build(fill, &[]).unwrap();
    let mut mounted = HostMount::new(&image.arguments()).unwrap();
    assert!(fs::read(mounted.path().join(name(1))).unwrap() == noise(1, LEN));
    let (status, took) = mounted.terminate().unwrap();
    println!("SIGTERM of an idle mount: {took:?}");
    assert_eq!(status.code(), Some(0), "{}", mounted.complaints());
    assert!(took < LIMIT, "{took:?}");
    assert!(!mounted.is_mounted().unwrap());
    assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 0);
}

#[test]
fn sigterm_unmounts_while_files_are_open_and_misses_under_way() {
    if !is_possible() {
        return;
    }
    let stuck = Stuck::new();
    let mut mounted = HostMount::new(&stuck.arguments()).unwrap();
    let readers: Vec<_> = (0..FILES)
        .map(|number| {
            let path = mounted.path().join(name(number));
            thread::spawn(move || fs::read(path))
        })
        .collect();
    let start = Instant::now();
    while mounted.counters().unwrap()["misses"] != FILES {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    let (status, took) = mounted.terminate().unwrap();
    println!("SIGTERM of a mount with misses under way: {took:?}");
    assert_eq!(status.code(), Some(0), "{}", mounted.complaints());
    assert!(took < LIMIT, "{took:?}");
    assert!(!mounted.is_mounted().unwrap());
    for reader in readers {
        reader.join().unwrap().unwrap_err();
    }
}
