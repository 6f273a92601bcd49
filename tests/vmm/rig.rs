//! A daemon in a process of its own that is killed and started again, over a source
//! that answers when the test wants it to.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::support::daemon::Daemon;
use crate::support::frontend::{Config, Style};
use crate::support::image::{self, Image, noise};
use crate::support::registry::{Fault, Registry, Settings, What};
use crate::support::session::wire::{Body, op};
use crate::support::session::{Session, Ticket};

/// Files of one chunk each; the first is read ahead of all tests.
pub(crate) const FILES: usize = 8;

/// Bytes of each.
pub(crate) const LEN: usize = 60_000;

/// The styles in which a VMM takes up a device.
pub(crate) const STYLES: [Style; 3] = [Style::Inflight, Style::Available, Style::Used];

/// A guest that is patient, in a machine that is busy.
pub(crate) fn config(style: Style) -> Config {
    Config {
        style,
        depth: 16,
        request_max: 4096,
        reply_max: 64 << 10,
        timeout: Duration::from_secs(60),
        ..Config::default()
    }
}

fn fill(root: &Path) -> io::Result<()> {
    (0..FILES).try_for_each(|file| fs::write(root.join(name(file)), content(file)))
}

pub(crate) fn name(file: usize) -> String {
    format!("file-{file}")
}

pub(crate) fn content(file: usize) -> Vec<u8> {
    noise(file as u64, LEN)
}

/// The daemon, its source, and what outlives it.
pub(crate) struct Rig {
    // In the order in which they are dropped.
    daemon: Option<Daemon>,
    pub(crate) registry: Registry,
    line: Vec<OsString>,
    home: TempDir,
    _image: Image,
}

impl Rig {
    /// Starts it.
    pub(crate) fn new() -> Self {
        let image = image::build(fill, &["--chunk-size", "64KiB"]).unwrap();
        let registry = Registry::start(&image.blobs(), Settings::default()).unwrap();
        let home = tempfile::Builder::new()
            .prefix("reconnect-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let config = home.path().join("config.json");
        let source = json!({
            "scheme": "http", "host": registry.address().to_string(),
            "repo": "some/image", "timeout": 60, "connect_timeout": 60,
        });
        let keys = json!({
            "device": {"backend": {"type": "registry", "config": source}},
            "mode": "direct", "fs_prefetch": {"enable": false},
        });
        fs::write(&config, keys.to_string()).unwrap();
        let mut line: Vec<OsString> = vec![env!("CARGO_BIN_EXE_tidegate").into(), "serve".into()];
        for (option, path) in [
            ("--socket", home.path().join("fs.sock")),
            ("--state", home.path().join("state")),
            ("--config", config),
            ("--bootstrap", image.bootstrap()),
        ] {
            line.extend([option.into(), path.into()]);
        }
        let mut rig = Self {
            daemon: None,
            registry,
            line,
            home,
            _image: image,
        };
        rig.start();
        rig
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.path().join("fs.sock")
    }

    pub(crate) fn start(&mut self) {
        self.daemon = Some(Daemon::command_on(&self.socket(), &self.line).unwrap());
    }

    /// Kills the daemon.
    pub(crate) fn kill(&mut self) {
        // Dropped means killed.
        self.daemon = None;
    }

    pub(crate) fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().unwrap()
    }

    /// A guest that has sent INIT, and the nodes of the files.
    pub(crate) fn guest(&self, config: &Config) -> (Session, Vec<u64>) {
        let mut guest = Session::mount(&self.socket(), config).unwrap();
        let nodes = (0..FILES).map(|file| guest.resolve(&name(file)).unwrap());
        let nodes: Vec<_> = nodes.collect();
        let first = guest.read(nodes[0], 0, 0, LEN).unwrap();
        assert!(first == content(0));
        (guest, nodes)
    }

    /// From now on the source gives no answer, or does again.
    pub(crate) fn hang(&self, hangs: bool) {
        self.registry.change(|settings| {
            settings.faults = match hangs {
                true => vec![Fault::new(What::Hang)],
                false => Vec::new(),
            };
        });
        self.registry.reset();
    }

    /// Waits until so many fetches have been asked for since the last change.
    pub(crate) fn await_fetches(&self, count: u64) {
        until("the source is asked", || {
            self.registry.counts().blob_gets >= count
        });
    }
}

/// Waits for what happens soon and is no event that can be awaited.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Puts a READ of a whole file on queue 1 without waking the daemon.
pub(crate) fn read(guest: &mut Session, node: u64) -> Ticket {
    let body = Body::read(0, 0, u32::try_from(LEN).unwrap()).0;
    guest.submit(1, op::READ, node, &body, Some(LEN)).unwrap()
}

/// Waits for so many READs, which may come in any order.
pub(crate) fn answers(guest: &mut Session, tickets: &[Ticket]) -> Vec<Vec<u8>> {
    let mut found = vec![Vec::new(); tickets.len()];
    for _ in tickets {
        let reply = guest.complete(1).unwrap();
        let at = tickets.iter().position(|it| *it == reply.ticket).unwrap();
        assert!(found[at].is_empty(), "answered twice");
        found[at] = guest.body(reply).unwrap();
    }
    assert!(guest.try_complete(1).unwrap().is_none(), "answered twice");
    found
}
