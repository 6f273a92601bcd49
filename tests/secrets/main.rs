//! Secrets never show: not in the log at its most talkative, not in errors, not
//! in anything that the API serves, whether sources work or fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;
#[path = "../support/mod.rs"]
mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use rig::{FILES, Rig, registry_config};
use support::registry::{Auth, Fault, On, Redirect, Settings, What};
use support::servers::available;
use support::servers::nginx::{self, Nginx};
use support::servers::s3::{self, BUCKET, Keys, S3};

const USER: &str = "reader";
const PASSWORD: &str = "Pa55word-kept-secret";
const NEXT: &str = "An0ther-kept-secret";
const KEY_ID: &str = "AKIDKEPTSECRET000001";
const KEY: &str = "key/kept+secret/0123456789abcdef";
const TOKEN: &str = "session//token//kept//secret==";
const PROXY: &str = "proxy-kept-secret";
const MIRROR: &str = "mirror-header-kept-secret";
const HEADER: &str = "environment-header-kept-secret";

fn basic(password: &str) -> String {
    STANDARD.encode(format!("{USER}:{password}"))
}

/// All that must not show, in every form that we send it in. `token-` begins
/// the tokens of the test registry, `signature=` is in its signed links.
fn secrets() -> Vec<String> {
    let mut secrets = vec![basic(PASSWORD), basic(NEXT), STANDARD.encode(KEY)];
    let plain = [
        PASSWORD,
        NEXT,
        KEY_ID,
        KEY,
        TOKEN,
        PROXY,
        MIRROR,
        HEADER,
        "token-0",
        "signature=",
    ];
    secrets.extend(plain.map(str::to_owned));
    secrets
}

/// Reads, breaks, reads, mends and reads again, then looks at everything that
/// was printed and served.
fn watch(rig: &Rig, config: &Value, break_it: impl FnOnce(), mend_it: impl FnOnce()) {
    let served = rig.serve(config, &[("NYDUS_HEADER_X-Test", HEADER)]);
    served.read(&[0, 1], true);
    let mut seen = served.everything();
    break_it();
    served.read(&[FILES - 1], false);
    seen += &served.everything();
    mend_it();
    let next = json!({ "registry_auth": basic(NEXT) }).to_string();
    seen += &served.put("/api/v1/config?id=/", &next);
    seen += &served.put("/api/v1/config", &next);
    seen += &served.put("/api/v1/config", "registry_auth");
    seen += &served.everything();
    seen += &served.end();
    assert!(
        seen.contains("/metrics") && seen.contains("INFO"),
        "nothing was seen"
    );
    for secret in secrets() {
        if let Some(at) = seen.find(&secret) {
            let around = seen[..at].rfind('\n').unwrap_or(0);
            panic!("{secret:?} shows: {:.400}", &seen[around..]);
        }
    }
}

fn failing(status: u16) -> Vec<Fault> {
    let what = |status| What::Status {
        status,
        retry_after: None,
    };
    [On::Blob, On::Entry, On::Link, On::Token]
        .map(|on| Fault::new(what(status)).on(on))
        .to_vec()
}

fn bearer() -> Auth {
    Auth::Bearer {
        login: Some((USER.into(), PASSWORD.into())),
        expires_ms: 60_000,
        told_s: Some(60),
        get_only: false,
    }
}

fn watch_registry(auth: Auth) {
    for status in [401, 403, 500] {
        let rig = Rig::new(Settings {
            auth: auth.clone(),
            redirect: Some(Redirect {
                other_port: true,
                ..Redirect::default()
            }),
            ..Settings::default()
        });
        let mut config = registry_config(&rig.registry, &basic(PASSWORD));
        let keys = &mut config["device"]["backend"]["config"];
        // Nobody is at this port: the source is asked directly.
        keys["proxy"] = json!({ "url": format!("http://me:{PROXY}@127.0.0.1:9") });
        keys["mirrors"] = json!([{ "host": "http://127.0.0.1:9", "headers": { "X-Key": MIRROR } }]);
        watch(
            &rig,
            &config,
            || {
                rig.registry
                    .change(|settings| settings.faults = failing(status))
            },
            || rig.registry.change(|settings| settings.faults.clear()),
        );
    }
}

#[test]
fn passwords_and_tokens_of_a_token_registry_never_show() {
    watch_registry(bearer());
}

#[test]
fn passwords_of_a_basic_registry_never_show() {
    watch_registry(Auth::Basic {
        user: USER.into(),
        password: PASSWORD.into(),
    });
}

#[test]
fn wrong_passwords_never_show() {
    let rig = Rig::new(Settings {
        auth: Auth::Basic {
            user: USER.into(),
            password: "the right one".into(),
        },
        ..Settings::default()
    });
    let config = registry_config(&rig.registry, &basic(PASSWORD));
    let served = rig.serve(&config, &[("NYDUS_HEADER_X-Test", HEADER)]);
    served.read(&[0], false);
    let seen = served.everything() + &served.end();
    assert!(seen.contains("401"), "{seen}");
    for secret in secrets() {
        assert!(!seen.contains(&secret), "{secret:?} shows");
    }
}

#[test]
fn keys_and_session_tokens_of_s3_never_show() {
    if !available(s3::PROGRAMS) || !available(nginx::PROGRAMS) {
        return;
    }
    let rig = Rig::new(Settings::default());
    let (id, secret) = (KEY_ID, KEY);
    let server = S3::start(Some(Keys { id, secret })).unwrap();
    for blob in rig.blobs() {
        server.put("", &blob).unwrap();
    }
    let gate = Nginx::gate(&server.endpoint(), "x-amz-security-token", TOKEN).unwrap();
    let endpoint = gate.http().trim_start_matches("http://").to_owned();
    let keys = json!({
        "scheme": "http", "endpoint": endpoint, "region": "eu-central-1", "bucket_name": BUCKET,
        "access_key_id": KEY_ID, "access_key_secret": KEY, "session_token": TOKEN,
    });
    let config = json!({
        "device": { "backend": { "type": "s3", "config": keys } }, "mode": "direct",
    });
    watch(&rig, &config, || drop(gate), || drop(server));
}
