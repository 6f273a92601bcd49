//! Credentials as docker keeps them: `config.json` and credential helpers.
//!
//! Layout: <https://docs.docker.com/reference/cli/docker/login/>; helpers:
//! <https://github.com/docker/docker-credential-helpers>. The crate
//! `docker_credential` waits for helpers without a limit, and its errors repeat
//! what they printed.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::credentials::Credential;
use super::token::NoToken;
use crate::backend::secret::Secret;

/// Longest wait for a helper.
const HELPER_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of a configuration that are read.
const CONFIG_BYTES: u64 = 1 << 20;

/// Most bytes that a helper may print.
const HELPER_BYTES: u64 = 256 << 10;

/// The user name with which helpers mark an identity token.
const IDENTITY_USER: &str = "<token>";

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: HashMap<String, Entry>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: Secret,
}

/// The bytes of a regular file of bounded size; may wait for the disk.
fn read_regular(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut text = Zeroizing::new(Vec::new());
    file.take(CONFIG_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// Whether the configuration `file` names programs that know credentials. One that
/// cannot be read names none.
pub fn names_helpers(file: &Path) -> bool {
    let text = read_regular(file).unwrap_or_default();
    let config = serde_json::from_slice::<Config>(&text).unwrap_or_default();
    config.creds_store.is_some() || !config.cred_helpers.is_empty()
}

/// The credential of `host` in the configuration `file`, if it has one.
pub(super) async fn look_up(file: &Path, host: &str) -> Result<Option<Credential>, NoToken> {
    let name = file.display();
    let path = file.to_owned();
    let read = crate::runtime::blocking(move || read_regular(&path)).await;
    let read = read.unwrap_or_else(|lost| Err(std::io::Error::other(lost)));
    let text = read.map_err(|error| NoToken::new(format!("{name}: {error}")))?;
    let config: Config = serde_json::from_slice(&text).map_err(|error| {
        NoToken::new(format!(
            "{name} is no docker configuration, line {}",
            error.line()
        ))
    })?;
    let wanted = registry_of(host);
    let helper = config
        .cred_helpers
        .iter()
        .find(|(key, _)| registry_of(key) == wanted);
    if let Some((key, helper)) = helper {
        return ask_helper(helper, key).await;
    }
    let entries = config.auths.iter();
    let entry = entries
        .filter(|(key, _)| registry_of(key) == wanted)
        .find_map(|(_, entry)| entry.credential().transpose());
    if let Some(credential) = entry {
        let bad = |_| {
            NoToken::new(format!(
                "`auth` of {host} in {name} is not base64 of user:password"
            ))
        };
        return credential.map(Some).map_err(bad);
    }
    match &config.creds_store {
        Some(store) => {
            let docker_hub = wanted == "index.docker.io";
            let key = if docker_hub {
                "https://index.docker.io/v1/"
            } else {
                host
            };
            ask_helper(store, key).await
        }
        None => Ok(None),
    }
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, super::credentials::BadAuth> {
        let given = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credential::Identity(token)));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Credential::Bearer(token)));
        }
        if let Some(auth) = given(&self.auth) {
            return Credential::from_auth(auth.reveal()).map(Some);
        }
        let user = self.username.clone().filter(|user| !user.is_empty());
        Ok(user
            .zip(self.password.clone())
            .map(|(user, password)| Credential::Basic { user, password }))
    }
}

/// The registry that a key means: `https://index.docker.io/v1/` is the same as
/// `docker.io`.
fn registry_of(key: &str) -> &str {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let host = bare.unwrap_or(key).split('/').next().unwrap_or_default();
    match host {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        host => host,
    }
}

/// Runs `docker-credential-<helper> get`.
async fn ask_helper(helper: &str, key: &str) -> Result<Option<Credential>, NoToken> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if helper.is_empty() || !helper.bytes().all(plain) {
        return Err(NoToken::new(
            "the name of a credential helper is not one word",
        ));
    }
    run(&format!("docker-credential-{helper}"), key).await
}

async fn run(program: &str, key: &str) -> Result<Option<Credential>, NoToken> {
    let failed = |what: String| NoToken::new(format!("credential helper {program} {what}"));
    let (named, asked) = (program.to_owned(), key.to_owned());
    let asking = async move {
        let exchange = exchange(&named, &asked);
        tokio::time::timeout(HELPER_TIMEOUT, exchange).await
    };
    let answer = match crate::runtime::starter() {
        Some(starter) => starter.spawn(asking).await,
        None if crate::threads::are_restricted() => {
            return Err(failed(
                "was not named in docker's configuration when the daemon started; start it again"
                    .into(),
            ));
        }
        None => Ok(asking.await),
    };
    let answer = answer.map_err(|_| failed("was given up".into()))?;
    let (success, output) = answer
        .map_err(|_| {
            failed(format!(
                "did not answer within {} s",
                HELPER_TIMEOUT.as_secs()
            ))
        })?
        .map_err(|error| failed(format!("does not run: {error}")))?;
    if !success {
        let text = String::from_utf8_lossy(&output);
        let unknown = text.contains("credentials not found");
        return if unknown {
            Ok(None)
        } else {
            Err(failed("failed; run it by hand".into()))
        };
    }
    let helped: Helped =
        serde_json::from_slice(&output).map_err(|_| failed("printed no credentials".into()))?;
    Ok(Some(match helped.username.as_str() {
        IDENTITY_USER => Credential::Identity(helped.secret),
        _ => Credential::Basic {
            user: helped.username,
            password: helped.secret,
        },
    }))
}

/// Whether the helper succeeded, and what it printed.
async fn exchange(program: &str, key: &str) -> std::io::Result<(bool, Zeroizing<Vec<u8>>)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read its input says why by its status.
        let _ = input.write_all(key.as_bytes()).await;
    }
    let mut output = Zeroizing::new(Vec::with_capacity(4096));
    if let Some(stdout) = child.stdout.take() {
        stdout.take(HELPER_BYTES).read_to_end(&mut output).await?;
    }
    Ok((child.wait().await?.success(), output))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn basic(user: &str, password: &str) -> Credential {
        Credential::Basic {
            user: user.into(),
            password: password.into(),
        }
    }

    async fn found(config: &str, host: &str) -> Result<Option<Credential>, NoToken> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::write(&file, config).unwrap();
        look_up(&file, host).await
    }

    #[tokio::test]
    async fn entries_are_found_under_the_names_that_docker_gives_them() {
        let auth = r#"{"auth":"dXNlcjpwYTpzcw=="}"#;
        for (key, host) in [
            ("ghcr.io", "ghcr.io"),
            ("https://ghcr.io/v2/", "ghcr.io"),
            ("localhost:5000", "localhost:5000"),
            ("https://index.docker.io/v1/", "registry-1.docker.io"),
            ("docker.io", "index.docker.io"),
        ] {
            let config = format!(r#"{{"auths":{{"other":{{}},"{key}":{auth}}}}}"#);
            let found = found(&config, host).await.unwrap();
            assert_eq!(found, Some(basic("user", "pa:ss")), "{key}");
        }
        assert_eq!(
            found(r#"{"auths":{"ghcr.io":{}}}"#, "ghcr.io")
                .await
                .unwrap(),
            None
        );
        assert_eq!(found(r#"{}"#, "ghcr.io").await.unwrap(), None);
    }

    #[tokio::test]
    async fn each_form_of_entry_is_read() {
        let entry = |entry: &str| format!(r#"{{"auths":{{"r":{entry}}}}}"#);
        let config = entry(r#"{"username":"u","password":"p"}"#);
        assert_eq!(found(&config, "r").await.unwrap(), Some(basic("u", "p")));
        let config = entry(r#"{"auth":"dTpw","identitytoken":"i"}"#);
        assert_eq!(
            found(&config, "r").await.unwrap(),
            Some(Credential::Identity("i".into()))
        );
        let config = entry(r#"{"registrytoken":"t"}"#);
        assert_eq!(
            found(&config, "r").await.unwrap(),
            Some(Credential::Bearer("t".into()))
        );
    }

    #[tokio::test]
    async fn a_damaged_configuration_is_an_error_that_repeats_nothing() {
        for config in [
            r#"{"auths":{"r":{"auth":"hunter2"}}}"#,
            r#"{"auths":"hunter2"}"#,
            "",
        ] {
            let error = found(config, "r").await.unwrap_err();
            assert!(error.reason.contains("config.json"), "{error:?}");
            assert!(!error.reason.contains("hunter2"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn helpers_answer_fail_know_nothing_or_are_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let helper = dir.path().join("helper");
        let path = helper.to_str().unwrap();
        let answer = async |script: &str| {
            std::fs::write(&helper, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o700)).unwrap();
            run(path, "ghcr.io").await
        };
        let echo =
            r#"[ "$1" = get ] && read -r host; echo "{\"Username\":\"$host\",\"Secret\":\"s\"}""#;
        assert_eq!(answer(echo).await.unwrap(), Some(basic("ghcr.io", "s")));
        let identity = r#"echo '{"Username":"<token>","Secret":"s"}'"#;
        assert_eq!(
            answer(identity).await.unwrap(),
            Some(Credential::Identity("s".into()))
        );
        let unknown = "echo credentials not found in native keychain; exit 1";
        assert_eq!(answer(unknown).await.unwrap(), None);
        for bad in ["echo hunter2; exit 1", "echo hunter2"] {
            let error = answer(bad).await.unwrap_err();
            assert!(!error.reason.contains("hunter2"), "{error:?}");
        }
        assert!(ask_helper("not-installed", "r").await.is_err());
        assert!(
            ask_helper("../bin/sh", "r")
                .await
                .unwrap_err()
                .reason
                .contains("one word")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_helper_that_hangs_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let helper = dir.path().join("helper");
        std::fs::write(&helper, "#!/bin/sh\nexec sleep 1000\n").unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o700)).unwrap();
        let error = run(helper.to_str().unwrap(), "r").await.unwrap_err();
        assert!(error.reason.contains("within 10 s"), "{error:?}");
    }
}
