//! A daemon as Kata has it, and what it serves.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::clients::{Client, exchange};
use crate::support::daemon::{Daemon, SOCKET, WORK, connect};
use crate::support::image::{self, Image};

/// Files of the image, and bytes of each.
pub(crate) const FILES: usize = 32;
pub(crate) const FILE_LEN: usize = 512 << 10;

/// Where things are mounted.
pub(crate) const STAYS: &str = "/stays";
pub(crate) const OLD: &str = "/old";
pub(crate) const CONTAINERS: &str = "/containers";

/// Byte `at` of a file of the image.
pub(crate) fn byte(file: usize, at: usize) -> u8 {
    let mixed = (at ^ (at >> 9) ^ (file << 20)).wrapping_mul(0x9e37_79b1);
    u8::try_from((mixed >> 13) & 0xff).unwrap()
}

/// A daemon and its images.
pub(crate) struct World {
    pub(crate) daemon: Daemon,
    pub(crate) image: Image,
}

fn program() -> String {
    std::env::var("TIDEGATE_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tidegate").to_owned())
}

impl World {
    /// A daemon that runs, with an image of RAFS v6, one of v5, and a directory.
    pub(crate) fn new() -> Self {
        let fill = |root: &Path| {
            for file in 0..FILES {
                let bytes: Vec<u8> = (0..FILE_LEN).map(|at| byte(file, at)).collect();
                fs::write(root.join(format!("f{file}")), bytes)?;
            }
            Ok(())
        };
        let image = image::build(fill, &["--chunk-size", "64KiB"]).unwrap();
        let api = format!("{WORK}/api.sock");
        let program = program();
        let line = [
            &program,
            "nydusd",
            "virtiofs",
            "--log-level",
            "warn",
            "--apisock",
            &api,
            "--sock",
            SOCKET,
        ];
        let daemon = Daemon::command(&line).unwrap();
        let world = Self { daemon, image };
        fs::create_dir(world.daemon.work().join("shared")).unwrap();
        let mut stream = connect(&world.api()).unwrap();
        let ready = exchange(
            &mut stream,
            b"GET /api/v1/daemon HTTP/1.1\r\nHost: unix\r\n\r\n",
        );
        assert_eq!(ready.status, 200);
        for (at, body) in [
            (CONTAINERS, world.directory()),
            (STAYS, world.body()),
            (OLD, world.old()),
        ] {
            let answer = Client::Go.mount(&world.api(), at, &body);
            assert_eq!(answer.status, 204, "{answer:?}");
        }
        world
    }

    pub(crate) fn api(&self) -> PathBuf {
        self.daemon.work().join("api.sock")
    }

    fn rafs(&self, bootstrap: &Path, blobs: &Path) -> String {
        let config = json!({
            "device": {
                "backend": {"type": "localfs", "config": {"dir": blobs}},
                "cache": {"type": "blobcache", "config": {"work_dir": self.daemon.work().join("cache")}},
            },
            "mode": "direct",
            "fs_prefetch": {"enable": false},
        });
        json!({"fs_type": "rafs", "source": bootstrap, "config": config.to_string()}).to_string()
    }

    /// The body that mounts the image.
    pub(crate) fn body(&self) -> String {
        self.rafs(&self.image.bootstrap(), &self.image.blobs())
    }

    /// The body that mounts an image of RAFS v5.
    pub(crate) fn old(&self) -> String {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v5/lz4");
        self.rafs(&data.join("bootstrap"), &data.join("blobs"))
    }

    fn directory(&self) -> String {
        let source = self.daemon.work().join("shared");
        let body: Value = json!({"fs_type": "passthrough_fs", "source": source, "config": ""});
        body.to_string()
    }
}
