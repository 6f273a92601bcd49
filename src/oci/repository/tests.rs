//! What a repository asks a registry, and what it makes of the answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::backend::testing::{Reply, Seen, Server, reply};
use crate::oci::BlobSource;
use crate::oci::manifest::{Descriptor, Index, Manifest, media_type};
use crate::oci::media;
use crate::oci::reference::{Place, Which};

/// A registry in memory: blobs and manifests by the end of their URL.
#[derive(Default)]
struct Memory {
    things: Mutex<HashMap<String, Bytes>>,
    /// What uploads have so far.
    upload: Mutex<Vec<u8>>,
    /// After how many bytes the next PATCH breaks off, if it does.
    breaks: Mutex<Option<usize>>,
    /// Whether it forgets an upload that broke off.
    forgets: bool,
}

impl Memory {
    fn answer(&self, seen: &Seen) -> Reply {
        let path = seen.uri.path().strip_prefix("/v2/team/app/").unwrap();
        let query: HashMap<_, _> =
            url::form_urlencoded::parse(seen.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let session = [("location", "/v2/team/app/blobs/uploads/1?state=x")];
        match (seen.method.as_str(), path) {
            ("POST", "blobs/uploads/") => {
                let known = query.get("mount").zip(query.get("from"));
                match known.filter(|(_, from)| *from == "team/base") {
                    Some(_) => reply(201, &[], b""),
                    None => {
                        self.upload.lock().clear();
                        reply(202, &session, b"")
                    }
                }
            }
            ("PATCH", "blobs/uploads/1") => {
                let mut upload = self.upload.lock();
                let range = seen.header("content-range");
                let from = range.split('-').next().unwrap().parse().unwrap_or(0);
                assert_eq!(upload.len(), from, "{range}");
                if let Some(breaks) = self.breaks.lock().take() {
                    upload.extend_from_slice(&seen.body[..breaks]);
                    return reply(502, &[], b"");
                }
                upload.extend_from_slice(&seen.body);
                reply(202, &session, b"")
            }
            ("GET", "blobs/uploads/1") if self.forgets => reply(404, &[], b""),
            ("GET", "blobs/uploads/1") => {
                let range = format!("0-{}", self.upload.lock().len().saturating_sub(1));
                reply(204, &[session[0], ("range", &range)], b"")
            }
            ("PUT", "blobs/uploads/1") => {
                let mut blob = std::mem::take(&mut *self.upload.lock());
                blob.extend_from_slice(&seen.body);
                let digest = format!("sha256:{}", sha256(&blob));
                assert_eq!(query["digest"], digest);
                let name = format!("blobs/{digest}");
                self.things.lock().insert(name, blob.into());
                reply(201, &[], b"")
            }
            ("PUT", name) => {
                let digest = sha256(&seen.body);
                let mut things = self.things.lock();
                things.insert(name.to_owned(), seen.body.clone());
                things.insert(format!("manifests/sha256:{digest}"), seen.body.clone());
                reply(201, &[], b"")
            }
            (_, name) => match self.things.lock().get(name) {
                Some(bytes) if seen.header("range").is_empty() => {
                    let body = if seen.method == "HEAD" {
                        b""
                    } else {
                        &bytes[..]
                    };
                    reply(200, &[("content-type", media_type::INDEX)], body)
                }
                Some(bytes) => crate::backend::testing::range_of(bytes, seen),
                None => reply(404, &[], b""),
            },
        }
    }
}

async fn start(memory: Memory) -> (Arc<Memory>, Server, Repository) {
    let memory = Arc::new(memory);
    let answers = Arc::clone(&memory);
    let server = Server::start(move |seen| answers.answer(seen)).await;
    let Place::Registry(name) = format!("{}/team/app", server.host()).parse().unwrap() else {
        panic!("a name");
    };
    let access = Access {
        plain_http: PlainHttp::Always,
        skip_verify: false,
        ca_cert_files: Vec::new(),
        credentials: Credentials::anonymous(),
    };
    let repository = Repository::new(&name, &access, Grants::default()).unwrap();
    (memory, server, repository)
}

fn count(server: &Server, method: &str) -> usize {
    let seen = server.seen();
    seen.iter().filter(|seen| seen.method == method).count()
}

fn nobody() -> Sent {
    Arc::new(|_| {})
}

fn large() -> Vec<u8> {
    (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7).to_le_bytes()[0])
        .collect()
}

#[tokio::test]
async fn a_blob_that_is_there_is_not_sent() {
    let (memory, server, repository) = start(Memory::default()).await;
    let digest = sha256(b"blob");
    let payload = Payload::Bytes(Bytes::from_static(b"blob"));
    for (delivery, puts) in [(Delivery::Uploaded, 1), (Delivery::Present, 1)] {
        let sent = repository.upload(&digest, &payload, &[], &nobody()).await;
        assert_eq!(sent.unwrap(), delivery);
        assert_eq!(count(&server, "PUT"), puts);
    }
    assert_eq!(
        memory.things.lock()[&format!("blobs/sha256:{digest}")],
        "blob"
    );
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted() {
    let (_memory, server, repository) = start(Memory::default()).await;
    let digest = sha256(b"blob");
    let payload = Payload::Bytes(Bytes::from_static(b"blob"));
    let mounts = ["team/other".to_owned(), "team/base".to_owned()];
    let sent = repository
        .upload(&digest, &payload, &mounts, &nobody())
        .await;
    assert_eq!(sent.unwrap(), Delivery::Mounted);
    let uris: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| seen.uri.to_string())
        .collect();
    assert!(uris[1].ends_with(&format!("?mount=sha256%3A{}&from=team%2Fother", digest)));
    assert_eq!(count(&server, "PUT"), 0);
}

#[tokio::test]
async fn an_upload_that_broke_off_goes_on_where_it_stopped() {
    let memory = Memory {
        breaks: Mutex::new(Some(1_234_567)),
        ..Memory::default()
    };
    let (memory, server, repository) = start(memory).await;
    let blob = large();
    let digest = sha256(&blob);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &blob).unwrap();
    let payload = Payload::File {
        path: file.path().to_owned(),
        size: 3_000_000,
    };
    let told = Arc::new(AtomicU64::new(0));
    let sent: Sent = {
        let told = Arc::clone(&told);
        Arc::new(move |at| told.store(at, Ordering::Relaxed))
    };
    let done = repository.upload(&digest, &payload, &[], &sent).await;
    assert_eq!(done.unwrap(), Delivery::Uploaded);
    assert_eq!(
        memory.things.lock()[&format!("blobs/sha256:{digest}")],
        blob
    );
    let sizes: Vec<_> = server
        .seen()
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .map(|seen| seen.body.len())
        .collect();
    assert_eq!(sizes, [3_000_000, 3_000_000 - 1_234_567]);
    assert_eq!(told.load(Ordering::Relaxed), 3_000_000);
}

#[tokio::test]
async fn an_upload_that_is_forgotten_begins_anew() {
    let memory = Memory {
        breaks: Mutex::new(Some(1_234_567)),
        forgets: true,
        ..Memory::default()
    };
    let (memory, server, repository) = start(memory).await;
    let blob = large();
    let digest = sha256(&blob);
    let payload = Payload::Bytes(blob.clone().into());
    let done = repository.upload(&digest, &payload, &[], &nobody()).await;
    assert_eq!(done.unwrap(), Delivery::Uploaded);
    assert_eq!(
        memory.things.lock()[&format!("blobs/sha256:{digest}")],
        blob
    );
    assert_eq!(count(&server, "POST"), 2);
}

#[tokio::test]
async fn a_blob_is_what_its_digest_says_or_an_error() {
    let (memory, _server, repository) = start(Memory::default()).await;
    let blob = Descriptor::of("x", &large());
    let name = format!("blobs/{}", blob.digest);
    memory.things.lock().insert(name.clone(), large().into());
    let got = repository.blob("layer", &blob, 3_000_000).await.unwrap();
    assert!(got == large());
    let error = repository
        .blob("layer", &blob, 2_999_999)
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::TooLarge { .. }), "{error}");
    let mut wrong = large();
    wrong[2_000_000] ^= 1;
    memory.things.lock().insert(name, wrong.into());
    let error = repository
        .blob("layer", &blob, 3_000_000)
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Altered { .. }), "{error}");
}

#[tokio::test]
async fn a_manifest_is_what_its_digest_says_or_an_error() {
    let (memory, _server, repository) = start(Memory::default()).await;
    let bytes = Index::default().to_bytes();
    let digest = sha256(&bytes);
    assert_eq!(
        repository.manifest(&Which::Digest(digest)).await.unwrap(),
        None
    );
    repository
        .put_manifest(&bytes, media_type::INDEX, Some("v1"))
        .await
        .unwrap();
    for which in [Which::Tag("v1".into()), Which::Digest(digest)] {
        let found = repository.manifest(&which).await.unwrap().unwrap();
        assert_eq!((found.digest, &found.bytes[..]), (digest, &bytes[..]));
        assert_eq!(found.media_type, media_type::INDEX);
    }
    let name = format!("manifests/sha256:{digest}");
    memory.things.lock().insert(name, Bytes::from_static(b"{}"));
    let error = repository
        .manifest(&Which::Digest(digest))
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Altered { .. }), "{error}");
}

#[tokio::test]
async fn referrers_are_found_where_the_registry_lists_none() {
    let (memory, _server, repository) = start(Memory::default()).await;
    let subject = sha256(b"subject");
    let none = repository.referrers(&subject, "a/type").await.unwrap();
    assert_eq!(none, []);
    for (layer, artifact_type) in [("1", "a/type"), ("2", "b/type"), ("1", "a/type")] {
        let config = Descriptor::of(media::EMPTY, b"{}");
        let layer = Descriptor::of("x", layer.as_bytes());
        let mut manifest = Manifest::new(config, vec![layer]);
        manifest.artifact_type = Some(artifact_type.into());
        let bytes = manifest.to_bytes();
        let mut descriptor = Descriptor::of(media_type::MANIFEST, &bytes);
        descriptor.artifact_type = Some(artifact_type.into());
        let pushed = repository.put_referrer(&bytes, &descriptor, &subject, None);
        pushed.await.unwrap();
        let found = repository.referrers(&subject, artifact_type).await.unwrap();
        assert_eq!(found, [descriptor]);
    }
    let tag = format!("manifests/sha256-{}", subject);
    assert!(memory.things.lock().contains_key(&tag));
}

#[test]
fn a_blob_is_read_like_a_file() {
    use std::io::Read as _;
    let runtime = crate::runtime::handle().unwrap();
    let (memory, _server, repository) = runtime.block_on(start(Memory::default()));
    let blob = Descriptor::of("x", &large());
    let mut wrong = large();
    wrong[2_999_999] ^= 1;
    let source = Arc::new(repository);
    for (bytes, good) in [(large(), true), (wrong, false)] {
        let name = format!("blobs/{}", blob.digest);
        memory.things.lock().insert(name, bytes.into());
        let mut got = Vec::new();
        let read = source.open(&blob).unwrap().read_to_end(&mut got);
        assert_eq!(read.is_ok(), good);
        assert!(!good || got == large());
    }
}
