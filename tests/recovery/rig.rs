//! A daemon that is killed and started again with the same command line.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::daemon::{Daemon, connect};
use crate::support::frontend::Config;
use crate::support::image::Image;
use crate::support::session::{Agreed, Session};

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");

/// The device's socket.
pub(crate) const SOCKET: &str = "fs.sock";

/// The socket of the API.
pub(crate) const API: &str = "api";

/// The state directory.
pub(crate) const STATE: &str = "state";

/// A directory beside the code: /tmp may be a file system without all features.
pub(crate) fn place(prefix: &str) -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(prefix)
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap()
}

/// A daemon with a state directory, and its guest.
pub(crate) struct Rig {
    // In the order in which they are dropped.
    guest: Option<Session>,
    daemon: Option<Daemon>,
    agreed: Agreed,
    line: Vec<OsString>,
    home: TempDir,
}

impl Rig {
    /// Starts a daemon with these arguments besides.
    pub(crate) fn new(arguments: &[OsString]) -> Self {
        Self::under(Vec::new(), arguments)
    }

    /// The same without a capability.
    pub(crate) fn without(arguments: &[OsString], capability: &str) -> Self {
        let less = [
            "setpriv".into(),
            format!("--bounding-set=-{capability}").into(),
        ];
        Self::under(less.to_vec(), arguments)
    }

    /// The same with other mounts' numbers at each start: a namespace of its own.
    pub(crate) fn aside(arguments: &[OsString]) -> Self {
        Self::under(vec!["unshare".into(), "--mount".into()], arguments)
    }

    fn under(before: Vec<OsString>, arguments: &[OsString]) -> Self {
        Self::with(|home| {
            let mut line = before;
            line.extend([PROGRAM.into(), "serve".into()]);
            for (option, file) in [
                ("--socket", SOCKET),
                ("--api-socket", API),
                ("--state", STATE),
            ] {
                line.extend([option.into(), home.join(file).into()]);
            }
            line.extend(arguments.iter().cloned());
            line
        })
    }

    /// Starts what `line` says for a directory of the rig's own, in which socket, API
    /// and state have their names.
    pub(crate) fn with(line: impl FnOnce(&Path) -> Vec<OsString>) -> Self {
        let home = place("recovery-");
        let mut rig = Self {
            guest: None,
            daemon: None,
            agreed: Agreed::default(),
            line: line(home.path()),
            home,
        };
        rig.start();
        rig
    }

    /// A directory that is there as long as the rig.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.home.path().join(STATE)
    }

    /// The device's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.home.path().join(SOCKET)
    }

    /// Starts the daemon.
    pub(crate) fn start(&mut self) {
        let socket = self.home.path().join(SOCKET);
        self.daemon = Some(Daemon::command_on(&socket, &self.line).unwrap());
    }

    /// The daemon.
    pub(crate) fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().unwrap()
    }

    /// Kills the daemon.
    pub(crate) fn kill(&mut self) {
        // Dropped means killed; before the guest is gone, or it would have said goodbye.
        self.daemon = None;
        self.guest = None;
    }

    /// Kills the daemon and starts it again; the guest does not notice.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// The guest, which sends INIT once and is the same after a restart.
    pub(crate) fn guest(&mut self) -> &mut Session {
        if self.guest.is_none() {
            let socket = self.home.path().join(SOCKET);
            let mut guest = Session::connect(&socket, &Config::default()).unwrap();
            if self.agreed.major == 0 {
                self.agreed = guest.init().unwrap();
            }
            guest.agreed = self.agreed;
            self.guest = Some(guest);
        }
        self.guest.as_mut().unwrap()
    }

    /// Asks the API.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = connect(&self.home.path().join(API)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    /// Mounts an image or puts it in the place of another.
    pub(crate) fn mount(&self, method: &str, at: &str, image: &Image) {
        let config = json!({
            "device": {
                "backend": {"type": "localfs", "config": {"dir": image.blobs()}},
                "cache": {"type": "blobcache", "config": {"work_dir": self.home().join("cache")}},
            },
            "mode": "direct",
        });
        let body = json!({
            "fs_type": "rafs",
            "source": image.bootstrap(),
            "config": config.to_string(),
        });
        let path = format!("/api/v1/mount?mountpoint={at}");
        let (status, text) = self.ask(method, &path, &body.to_string());
        assert_eq!(status, 204, "{text}");
    }

    /// What `info` says of the state.
    pub(crate) fn info(&self) -> Value {
        let (status, text) = self.ask("GET", "/api/v1/tidegate/info", "");
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["state"].clone()
    }

    /// Has the guest leave, and the daemon end for that.
    pub(crate) fn leave(&mut self) {
        self.guest = None;
        let status = self.daemon().await_end(Duration::from_secs(20)).unwrap();
        assert_eq!(status.code(), Some(0));
        self.daemon = None;
    }

    /// Stops the daemon as an operator does.
    pub(crate) fn stop(&mut self) {
        // Its machine is still there.
        let (status, _) = self.daemon().terminate(Duration::from_secs(10)).unwrap();
        assert_eq!(status.code(), Some(0));
        self.kill();
    }
}
