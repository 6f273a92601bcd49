//! What holds for every backend.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tidegate::backend::{Backend, BackendError, BlobRange, Class};

use crate::support::image::noise;
use crate::support::servers::blob_id;

/// Bytes of the large blob: more than all buffers on the way hold.
pub(crate) const LARGE: usize = 24 << 20;

/// Bytes of the small blob.
pub(crate) const SMALL: usize = 100_003;

/// The classes of requests.
const CLASSES: [Class; 3] = [Class::Demand, Class::Readahead, Class::Prefetch];

/// Blobs that a server has, and one that it has not.
pub(crate) struct Blobs {
    small: Vec<u8>,
    large: Vec<u8>,
}

impl Blobs {
    pub(crate) fn new() -> Self {
        Self {
            small: noise(1, SMALL),
            large: noise(2, LARGE),
        }
    }

    /// All that the server must have.
    pub(crate) fn all(&self) -> [&[u8]; 2] {
        [&self.small, &self.large]
    }
}

/// Reads a range to its end.
pub(crate) async fn read(
    backend: &dyn Backend,
    id: &str,
    offset: usize,
    len: usize,
    class: Class,
) -> Result<Bytes, BackendError> {
    let offset = u64::try_from(offset).unwrap();
    let range = BlobRange {
        id,
        offset,
        len,
        class,
    };
    let parts: Vec<Bytes> = backend.open(range).await?.try_collect().await?;
    Ok(parts.concat().into())
}

/// An error with all its causes, as text and as `Debug` shows it.
pub(crate) fn everything(error: &BackendError) -> String {
    let mut text = format!("{error:?} {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text += &format!(": {inner} {inner:?}");
        cause = inner.source();
    }
    text
}

/// Runs the suite. `secrets` must show up in no message.
pub(crate) async fn run(backend: Arc<dyn Backend>, blobs: &Blobs, secrets: &[&str]) {
    let backend = backend.as_ref();
    ranges(backend, &blobs.small).await;
    class_makes_no_difference(backend, &blobs.small).await;
    large_range_arrives_in_order(backend, &blobs.large).await;
    many_at_once(backend, &blobs.large).await;
    dropped_body_harms_nothing(backend, blobs).await;
    let mut errors = beyond_the_end(backend, &blobs.small).await;
    errors.push(absent_blob_is_named(backend).await);
    errors.extend(bad_names(backend).await);
    // After all these errors, too.
    ranges(backend, &blobs.small).await;
    let shown = errors.iter().map(everything);
    for text in shown.chain([backend.describe()]) {
        for secret in secrets {
            assert!(!text.contains(secret), "a secret is shown: {text}");
        }
    }
}

/// Start, middle, end, one byte, all.
async fn ranges(backend: &dyn Backend, blob: &[u8]) {
    let id = blob_id(blob);
    let end = blob.len();
    let wanted = [
        (0, 4096),
        (0, 1),
        (33_333, 20_000),
        (50_000, 1),
        (end - 1, 1),
        (end - 777, 777),
        (0, end),
    ];
    for (offset, len) in wanted {
        let got = read(backend, &id, offset, len, Class::Demand).await;
        let got = got.unwrap_or_else(|error| panic!("{offset}+{len}: {}", everything(&error)));
        assert!(got == blob[offset..offset + len], "wrong at {offset}+{len}");
    }
}

async fn class_makes_no_difference(backend: &dyn Backend, blob: &[u8]) {
    let id = blob_id(blob);
    for class in CLASSES {
        let got = read(backend, &id, 1000, 5000, class).await.unwrap();
        assert!(got == blob[1000..6000], "wrong for {class:?}");
    }
}

async fn large_range_arrives_in_order(backend: &dyn Backend, blob: &[u8]) {
    let id = blob_id(blob);
    let (offset, len) = (1234, blob.len() - 5678);
    let range = BlobRange {
        id: &id,
        offset: 1234,
        len,
        class: Class::Prefetch,
    };
    let mut body = backend.open(range).await.unwrap();
    let mut at = offset;
    while let Some(part) = body.next().await {
        let part = part.unwrap();
        assert!(
            blob[at..].starts_with(&part),
            "wrong in the part of {} bytes at {at}",
            part.len()
        );
        at += part.len();
    }
    assert_eq!(at, offset + len, "as many bytes as were asked for");
}

async fn many_at_once(backend: &dyn Backend, blob: &[u8]) {
    let id = blob_id(blob);
    let len = 64 << 10;
    let reads = (0..64).map(|number| {
        let (id, offset) = (&id, number * 300_007);
        async move {
            let got = read(backend, id, offset, len, Class::Demand).await?;
            assert!(got == blob[offset..offset + len], "wrong at {offset}");
            Ok::<_, BackendError>(())
        }
    });
    try_join_all(reads).await.unwrap();
}

/// Also when nothing of it was read, and when only its beginning was.
async fn dropped_body_harms_nothing(backend: &dyn Backend, blobs: &Blobs) {
    let id = blob_id(&blobs.large);
    for parts in [0, 1, 3] {
        for _ in 0..8 {
            let range = BlobRange {
                id: &id,
                offset: 0,
                len: blobs.large.len(),
                class: Class::Demand,
            };
            let mut body = backend.open(range).await.unwrap();
            // Some sources answer in one part.
            body.by_ref()
                .take(parts)
                .try_collect::<Vec<_>>()
                .await
                .unwrap();
        }
        ranges(backend, &blobs.small).await;
    }
}

async fn beyond_the_end(backend: &dyn Backend, blob: &[u8]) -> Vec<BackendError> {
    let id = blob_id(blob);
    let end = blob.len();
    let mut errors = Vec::new();
    for (offset, len) in [(end, 1), (end - 10, 11), (end + 5000, 100), (0, end + 1)] {
        let got = read(backend, &id, offset, len, Class::Demand).await;
        let error = got.expect_err("bytes that are not there");
        let text = error.to_string();
        assert!(text.contains(&id), "{text}");
        errors.push(error);
    }
    errors
}

async fn absent_blob_is_named(backend: &dyn Backend) -> BackendError {
    let id = blob_id(b"nobody has this");
    let got = read(backend, &id, 0, 100, Class::Demand).await;
    let error = got.expect_err("a blob that is not there");
    let text = error.to_string();
    assert!(text.contains(&id), "{text}");
    error
}

/// Names that no blob can have, as a hostile image may hold them.
async fn bad_names(backend: &dyn Backend) -> Vec<BackendError> {
    let up = format!("../{}", "a".repeat(61));
    let question = format!("{}?x=", "a".repeat(61));
    let names = ["", "..", ".hidden", &up, &question, &"g".repeat(65)];
    let mut errors = Vec::new();
    for name in names {
        let got = read(backend, name, 0, 1, Class::Demand).await;
        let error = got.expect_err("a name that no blob has");
        assert!(matches!(error, BackendError::BadId { .. }), "{error}");
        errors.push(error);
    }
    errors
}
