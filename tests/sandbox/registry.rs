//! Registries, and programs that know their credentials, from inside the sandbox.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::daemon::{Daemon, SOCKET};
use crate::support::frontend::Config;
use crate::support::image::{self, FILE, FILE_LEN, Image, file_byte};
use crate::support::registry::{Auth, Registry, Settings};
use crate::support::servers::available;
use crate::support::servers::nginx::{self, Nginx};
use crate::threads;

const USER: &str = "reader";
const PASSWORD: &str = "opens-sesame";
const REPOSITORY: &str = "team/app";

/// An image whose blobs are in a registry that gives tokens to who knows the password.
struct Rig {
    registry: Registry,
    image: Image,
    home: TempDir,
}

impl Rig {
    fn new() -> Self {
        let image = image::small().unwrap();
        let auth = Auth::Bearer {
            login: Some((USER.to_owned(), PASSWORD.to_owned())),
            expires_ms: 60_000,
            told_s: None,
            get_only: false,
        };
        let settings = Settings {
            auth,
            ..Settings::default()
        };
        Self {
            registry: Registry::start(&image.blobs(), settings).unwrap(),
            image,
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Has a daemon at this level read the image from the source that `keys` name,
    /// with these variables in its environment.
    fn reads(&self, level: &str, keys: &Value, variables: &[(&str, OsString)]) {
        let config = json!({
            "device": { "backend": { "type": "registry", "config": keys } },
            "mode": "direct",
        });
        fs::write(self.path("config.json"), config.to_string()).unwrap();
        let mut line = vec![OsString::from("env")];
        for (name, value) in variables {
            let mut variable = OsString::from(format!("{name}="));
            variable.push(value);
            line.push(variable);
        }
        let program = env!("CARGO_BIN_EXE_tidegate");
        line.extend([program, "serve", "--sandbox", level, "--socket", SOCKET].map(OsString::from));
        for (option, path) in [
            ("--bootstrap", self.image.bootstrap()),
            ("--config", self.path("config.json")),
            ("--cache", self.path("cache")),
        ] {
            line.extend([option.into(), path.into()]);
        }
        let mut daemon = match Daemon::command(&line) {
            Ok(daemon) => daemon,
            Err(error) => {
                // Without privileges there is no strict.
                assert!(threads::own() == 0, "{error}");
                assert!(error.to_string().contains("--sandbox strict: "), "{error}");
                return;
            }
        };
        let mut guest = daemon.mount(&Config::default()).unwrap();
        let node = guest.resolve(FILE).unwrap();
        let read = guest.read(node, 0, 0, FILE_LEN + 1);
        let ended = daemon.ended().unwrap();
        let said = daemon.complaints();
        let read = read.unwrap_or_else(|error| panic!("{error}, {ended:?}: {said}"));
        assert!(read == (0..FILE_LEN).map(file_byte).collect::<Vec<_>>());
        let counts = self.registry.counts();
        assert!(counts.blob_gets > 0 && counts.token_requests > 0);
        assert!(said.contains(&format!("Sandbox {level}: ")), "{said}");
        drop(guest);
        let (status, _) = daemon.terminate(Duration::from_secs(20)).unwrap();
        assert_eq!(status.code(), Some(0), "{}", daemon.complaints());
    }
}

#[test]
fn strict_fetches_with_a_token_over_tls() {
    if !available(nginx::PROGRAMS) {
        return;
    }
    let rig = Rig::new();
    let tls = Nginx::token_registry(&rig.registry.url(), REPOSITORY).unwrap();
    let https = tls.https();
    let keys = json!({
        "scheme": "https", "host": https.strip_prefix("https://"), "repo": REPOSITORY,
        "auth": STANDARD.encode(format!("{USER}:{PASSWORD}")), "ca_cert_files": [tls.ca()],
    });
    rig.reads("strict", &keys, &[]);
}

/// A program that docker would ask for credentials; it says the password to who asks
/// for the host, and leaves its name and what it can do in a file.
fn helper(rig: &Rig, host: &str) -> Vec<(&'static str, OsString)> {
    fs::create_dir(rig.path("bin")).unwrap();
    let (program, asked) = (rig.path("bin/docker-credential-test"), rig.path("asked"));
    let script = format!(
        "#!/bin/sh\nread host\necho \"$1 $host\" >> {}\n[ \"$host\" = {host} ] || exit 1\n\
         printf '%s' '{{\"Username\": \"{USER}\", \"Secret\": \"{PASSWORD}\"}}' | cat\n",
        asked.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let config = json!({ "credsStore": "test" }).to_string();
    fs::write(rig.path("bin/config.json"), config).unwrap();
    let mut path = rig.path("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    vec![("DOCKER_CONFIG", rig.path("bin").into()), ("PATH", path)]
}

fn asks_the_helper(level: &str) {
    let rig = Rig::new();
    let host = rig.registry.address().to_string();
    let variables = helper(&rig, &host);
    let keys = json!({ "scheme": "http", "host": host, "repo": REPOSITORY });
    rig.reads(level, &keys, &variables);
    let asked = fs::read_to_string(rig.path("asked")).unwrap();
    assert!(asked.starts_with(&format!("get {host}\n")), "{asked}");
}

#[test]
fn standard_asks_programs_for_credentials() {
    asks_the_helper("standard");
}

#[test]
fn strict_asks_programs_for_credentials() {
    asks_the_helper("strict");
}
