//! An image behind a faulty registry, and daemons that serve it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::daemon::Daemon;
use crate::support::dice::Dice;
use crate::support::frontend::Config;
use crate::support::image::{self, Image, noise};
use crate::support::registry::{Auth, Registry, Settings};
use crate::support::session::Session;

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 64 << 10;

/// Files.
const FILES: usize = 24;

/// Most bytes of a READ.
pub(crate) const READ: usize = 128 << 10;

/// Longest that a read may wait.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);

/// Longer than any answer is under way.
const PATIENCE: Duration = Duration::from_secs(60);

/// User and password of the registry.
pub(crate) const USER: &str = "reader";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// Bytes of a file that are read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) file: usize,
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

/// An image whose content is known, and the registry that has its blobs.
pub(crate) struct Rig {
    pub(crate) registry: Registry,
    pub(crate) truth: Vec<Vec<u8>>,
    image: Image,
    home: TempDir,
}

pub(crate) fn name(file: usize) -> String {
    format!("file-{file:02}")
}

/// Up to six chunks; the last one seldom whole.
fn content(file: usize) -> Vec<u8> {
    noise(file as u64, 2 + file * 16_411 % (6 * CHUNK))
}

fn fill(root: &Path) -> io::Result<()> {
    (0..FILES).try_for_each(|file| fs::write(root.join(name(file)), content(file)))
}

impl Rig {
    pub(crate) fn new(settings: Settings) -> Self {
        let image = image::build(fill, &["--chunk-size", "64KiB"]).unwrap();
        Self {
            registry: Registry::start(&image.blobs(), settings).unwrap(),
            truth: (0..FILES).map(content).collect(),
            image,
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// All bytes of all files in a random order, in READs of up to
    /// [`READ`] bytes that begin anywhere.
    pub(crate) fn pieces(&self, dice: &mut Dice) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (file, content) in self.truth.iter().enumerate() {
            let mut offset = 0;
            while offset < content.len() {
                let len = (1 + dice.below(READ)).min(content.len() - offset);
                pieces.push(Piece { file, offset, len });
                offset += len;
            }
        }
        dice.shuffle(&mut pieces);
        pieces
    }

    /// Ends all faults and waits until no answer that they spoil is under way.
    pub(crate) fn mend(&self) {
        self.registry.change(|settings| settings.faults.clear());
        let end = Instant::now() + PATIENCE;
        while self.registry.log().iter().any(|entry| entry.took_us == 0) {
            assert!(Instant::now() < end, "an answer is under way for ever");
            // The end of an answer is no event that tests are told of.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A configuration as nydusd's users write it, for this registry.
    pub(crate) fn config(&self) -> Value {
        backend(&self.registry)
    }

    /// As [`Rig::config`], with a mirror in front.
    pub(crate) fn config_with_mirror(&self, mirror: &Registry) -> Value {
        let mut config = self.config();
        config["device"]["backend"]["config"]["mirrors"] = json!([{ "host": mirror.url() }]);
        config
    }

    /// A registry with the same blobs.
    pub(crate) fn another_registry(&self, settings: Settings) -> Registry {
        Registry::start(&self.image.blobs(), settings).unwrap()
    }

    /// A daemon with an empty cache.
    pub(crate) fn serve(&self, config: &Value) -> Daemon {
        self.serve_with(config, &[])
    }

    /// As [`Rig::serve`], with further arguments.
    pub(crate) fn serve_with(&self, config: &Value, arguments: &[&str]) -> Daemon {
        let file = self.home.path().join("config.json");
        fs::write(&file, config.to_string()).unwrap();
        let (file, boot) = (file.display().to_string(), self.image.bootstrap());
        let (boot, root) = (boot.display().to_string(), self.image.root().unwrap());
        let deadline = DEADLINE.as_secs().to_string();
        let mut line = vec!["--config", &file, "--bootstrap", &boot, "--root", &root];
        line.extend(["--deadline", &deadline]);
        line.extend(arguments);
        Daemon::tidegate(&line).unwrap()
    }
}

fn backend(registry: &Registry) -> Value {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let keys = json!({
        "scheme": "http", "host": registry.address().to_string(), "repo": "team/app",
        "auth": auth, "timeout": 1, "connect_timeout": 1,
    });
    json!({
        "device": { "backend": { "type": "registry", "config": keys } },
        "mode": "direct",
    })
}

/// Tokens that live this long, given to [`USER`] alone.
pub(crate) fn tokens(expires_ms: u64, told_s: Option<u64>) -> Auth {
    Auth::Bearer {
        login: Some((USER.into(), PASSWORD.into())),
        expires_ms,
        told_s,
        get_only: false,
    }
}

/// Connects a guest.
pub(crate) fn guest(daemon: &Daemon) -> Session {
    let config = Config {
        depth: 16,
        reply_max: READ,
        timeout: 4 * DEADLINE,
        ..Config::default()
    };
    daemon.mount(&config).unwrap()
}
