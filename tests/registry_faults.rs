//! The test registry does what it is asked to: what other tests build on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode, redirect};
use support::image::noise;
use support::registry::{Auth, Fault, On, Redirect, Registry, Settings, What};
use tempfile::TempDir;

const ID: &str = "00000000000000000000000000000000000000000000000000000000000000aa";
const LEN: usize = 400_000;

struct Rig {
    registry: Registry,
    client: Client,
    _blobs: TempDir,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        // Another test of this process may have been the first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let blobs = tempfile::tempdir().unwrap();
        fs::write(blobs.path().join(ID), noise(1, LEN)).unwrap();
        let client = Client::builder()
            .redirect(redirect::Policy::limited(5))
            .no_proxy()
            .build();
        Self {
            registry: Registry::start(blobs.path(), settings).unwrap(),
            client: client.unwrap(),
            _blobs: blobs,
        }
    }

    fn with(what: What) -> Self {
        let faults = vec![Fault::new(what)];
        Self::new(Settings {
            faults,
            ..Settings::default()
        })
    }

    fn url(&self) -> String {
        format!("{}/v2/some/image/blobs/sha256:{ID}", self.registry.url())
    }

    async fn get(&self, range: &str) -> reqwest::Result<reqwest::Response> {
        let request = self.client.get(self.url()).header("range", range);
        request.timeout(Duration::from_secs(10)).send().await
    }

    async fn bytes(&self, range: &str) -> reqwest::Result<Vec<u8>> {
        Ok(self.get(range).await?.bytes().await?.to_vec())
    }
}

fn truth(range: std::ops::Range<usize>) -> Vec<u8> {
    noise(1, LEN)[range].to_vec()
}

#[tokio::test]
async fn range_is_answered_with_its_bytes_and_counted() {
    let rig = Rig::new(Settings::default());
    let answer = rig.get("bytes=1000-2999").await.unwrap();
    assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        answer.headers()["content-range"],
        format!("bytes 1000-2999/{LEN}").as_str()
    );
    assert!(answer.bytes().await.unwrap() == truth(1000..3000));
    let plain = format!("{}/some/path/{ID}", rig.registry.url());
    let whole = rig.client.get(plain).send().await.unwrap();
    assert_eq!(whole.status(), StatusCode::OK);
    assert!(whole.bytes().await.unwrap() == truth(0..LEN));
    let head = rig.client.head(rig.url()).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], LEN.to_string().as_str());
    assert_eq!(rig.get("bytes=400000-").await.unwrap().status(), 416);
    let counts = rig.registry.counts();
    assert_eq!((counts.requests, counts.blob_gets), (4, 2));
    assert_eq!(counts.bytes, 2000 + LEN as u64);
    let log = rig.registry.log();
    assert_eq!(
        (log[0].range, log[0].blob.as_str()),
        (Some((1000, 2999)), ID)
    );
}

#[tokio::test]
async fn answers_take_the_round_trip_and_the_link_is_shared() {
    let rig = Rig::new(Settings {
        rtt_ms: 30.0,
        bandwidth: 4_000_000,
        ..Settings::default()
    });
    let start = Instant::now();
    let (a, b) = tokio::join!(
        rig.bytes("bytes=0-199999"),
        rig.bytes("bytes=200000-399999")
    );
    let took = start.elapsed();
    assert!(a.unwrap() == truth(0..200_000) && b.unwrap() == truth(200_000..LEN));
    // 30 ms and 400 kB at 4 MB/s.
    assert!(took >= Duration::from_millis(125), "{took:?}");
    assert_eq!(rig.registry.counts().most_in_flight, 2);
    // A client has the last byte before its answer is written down.
    while rig.registry.log().iter().any(|entry| entry.took_us == 0) {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for entry in rig.registry.log() {
        assert!(entry.took_us >= 80_000, "faster than the link: {entry:?}");
    }
}

#[tokio::test]
async fn statuses_come_as_often_as_asked() {
    let status = What::Status {
        status: 429,
        retry_after: Some("2".into()),
    };
    let rig = Rig::with(status.clone());
    rig.registry
        .change(|s| s.faults = vec![Fault::new(status).every(3).times(2)]);
    let mut found = Vec::new();
    for _ in 0..9 {
        let answer = rig.get("bytes=0-9").await.unwrap();
        if answer.status() == 429 {
            assert_eq!(answer.headers()["retry-after"], "2");
        }
        found.push(answer.status().as_u16());
    }
    assert_eq!(found, [206, 206, 429, 206, 206, 429, 206, 206, 206]);
    assert_eq!(rig.registry.counts().faults["status"], 2);
}

#[tokio::test]
async fn bodies_break_in_each_way() {
    for what in [What::Truncate, What::Reset] {
        let rig = Rig::with(what.clone());
        let answer = rig.get("bytes=0-99999").await.unwrap();
        assert_eq!(answer.content_length(), Some(100_000), "{what:?}");
        assert!(answer.bytes().await.is_err(), "{what:?}");
        assert_eq!(rig.registry.counts().bytes, 50_000, "{what:?}");
    }
    let rig = Rig::with(What::Close);
    assert!(rig.get("bytes=0-99").await.is_err());
    let rig = Rig::with(What::Short);
    assert!(rig.bytes("bytes=0-99").await.unwrap() == truth(0..50));
    let rig = Rig::with(What::Alter { bytes: 1 });
    let (got, truth_) = (rig.bytes("bytes=0-99999").await.unwrap(), truth(0..100_000));
    let wrong = got.iter().zip(&truth_).filter(|(a, b)| a != b).count();
    assert_eq!((got.len(), wrong), (100_000, 1));
}

#[tokio::test]
async fn ranges_are_ignored_or_mistaken() {
    let rig = Rig::with(What::Whole);
    let answer = rig.get("bytes=5-9").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.bytes().await.unwrap().len(), LEN);
    let rig = Rig::with(What::WrongRange);
    let answer = rig.get("bytes=0-9").await.unwrap();
    assert_eq!(
        answer.headers()["content-range"],
        format!("bytes 4096-4105/{LEN}").as_str()
    );
    assert!(answer.bytes().await.unwrap() == truth(4096..4106));
    let rig = Rig::with(What::Chunked);
    let answer = rig.get("bytes=5-9").await.unwrap();
    assert_eq!(answer.content_length(), None);
    assert!(answer.bytes().await.unwrap() == truth(5..10));
}

#[tokio::test]
async fn hanging_ends_with_the_client() {
    for what in [What::Hang, What::HangMidway] {
        let rig = Rig::with(what.clone());
        let request = rig
            .client
            .get(rig.url())
            .timeout(Duration::from_millis(100));
        let outcome = async { request.send().await?.bytes().await }.await;
        assert!(outcome.unwrap_err().is_timeout(), "{what:?}");
        let start = Instant::now();
        while rig.registry.counts().in_flight > 0 {
            assert!(start.elapsed() < Duration::from_secs(5), "{what:?}");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn dripping_body_arrives_whole_and_late() {
    let rig = Rig::with(What::Drip { rate: 50_000 });
    let start = Instant::now();
    assert!(rig.bytes("bytes=0-9999").await.unwrap() == truth(0..10_000));
    assert!(start.elapsed() >= Duration::from_millis(190));
}

#[tokio::test]
async fn tokens_are_wanted_given_and_expire() {
    let rig = Rig::new(Settings {
        auth: Auth::Bearer {
            login: Some(("me".into(), "secret".into())),
            expires_ms: 60_000,
            told_s: Some(60),
            get_only: false,
        },
        ..Settings::default()
    });
    let refused = rig.get("bytes=0-9").await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
    let realm = format!("realm=\"{}/token\"", rig.registry.url());
    assert!(challenge.contains(&realm), "{challenge}");
    assert!(challenge.contains("scope=\"repository:some/image:pull\""));
    let url = format!("{}/token?service=test-registry", rig.registry.url());
    let wrong = rig.client.get(&url).basic_auth("me", Some("wrong"));
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    let right = rig.client.get(&url).basic_auth("me", Some("secret"));
    let grant: serde_json::Value = right.send().await.unwrap().json().await.unwrap();
    let form = [("username", "me"), ("password", "secret")];
    let posted = rig.client.post(&url).form(&form).send().await.unwrap();
    let posted: serde_json::Value = posted.json().await.unwrap();
    let token = grant["token"].as_str().unwrap();
    assert_ne!(posted["access_token"].as_str().unwrap(), token);
    let ask = || rig.client.get(rig.url()).bearer_auth(token).send();
    assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    rig.registry.expire();
    assert_eq!(ask().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(rig.registry.counts().token_requests, 3);
}

#[tokio::test]
async fn links_lead_to_the_blob_and_die() {
    let rig = Rig::new(Settings {
        redirect: Some(Redirect {
            hops: 3,
            other_port: true,
            relative: true,
            ..Redirect::default()
        }),
        ..Settings::default()
    });
    let answer = rig.get("bytes=0-9").await.unwrap();
    let link = answer.url().clone();
    assert_ne!(link.port(), Some(rig.registry.address().port()));
    assert!(answer.bytes().await.unwrap() == truth(0..10));
    let counts = rig.registry.counts();
    assert_eq!((counts.redirects, counts.blob_gets), (3, 1));
    let again = rig.client.get(link.clone()).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
    let shown = rig.client.get(link.clone()).bearer_auth("x").send();
    assert_eq!(shown.await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(rig.registry.counts().leaked_authorization, 1);
    rig.registry.expire();
    let dead = rig.client.get(link).send().await.unwrap();
    assert_eq!(dead.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn program_is_steered_by_its_endpoints() {
    let rig = Rig::new(Settings::default());
    let control = format!("{}/_control", rig.registry.url());
    let settings = Settings {
        faults: vec![Fault::new(What::Hang).on(On::Token).probability(0.5)],
        ..Settings::default()
    };
    let put = rig.client.put(&control).json(&settings).send().await;
    assert_eq!(put.unwrap().status(), StatusCode::OK);
    let back = rig.client.get(&control).send().await.unwrap();
    assert_eq!(back.json::<Settings>().await.unwrap(), settings);
    let wrong = rig.client.put(&control).body("{\"rtt\": 1}").send().await;
    assert_eq!(wrong.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(rig.registry.counts().requests, 0);
}
