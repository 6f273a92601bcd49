//! A directory.

use std::fs;
use std::sync::Arc;

use tidegate::backend::directory::DirectoryBackend;

use crate::suite::{self, Blobs};
use crate::support::servers::blob_id;

#[tokio::test(flavor = "multi_thread")]
async fn directory_conforms() {
    let (blobs, dir) = (Blobs::new(), tempfile::tempdir().unwrap());
    for blob in blobs.all() {
        fs::write(dir.path().join(blob_id(blob)), blob).unwrap();
    }
    let backend = Arc::new(DirectoryBackend::new(dir.path().into()));
    suite::run(backend, &blobs, &[]).await;
}
