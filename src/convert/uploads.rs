//! Uploads that go on while the next layer is converted.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::ConvertError;
use super::place::{Target, block_on};
use super::progress::{Progress, short};
use super::report::Totals;
use crate::chunk::{Digest, DigestAlgorithm};
use crate::oci::manifest::Descriptor;
use crate::oci::media;
use crate::oci::repository::{Delivery, Payload, Sent};

/// Uploads at once.
const AT_ONCE: usize = 4;

/// How blobs came to where they were wanted, by digest.
pub(super) type Deliveries = HashMap<String, (u64, bool, Delivery)>;

/// Sends blobs to the target.
pub(super) struct Uploads {
    sender: Sender,
    tasks: Vec<JoinHandle<Result<Deliveries, ConvertError>>>,
    done: Deliveries,
}

/// What a task needs for sending.
#[derive(Clone)]
pub(super) struct Sender {
    target: Arc<Target>,
    limit: Arc<Semaphore>,
    /// One at a time for each blob: docker-registry refuses a manifest while
    /// one of its blobs is written once more.
    turns: Arc<Mutex<HashMap<Digest, Turn>>>,
    progress: Progress,
}

/// Held by who sends a blob.
type Turn = Arc<tokio::sync::Mutex<()>>;

impl Uploads {
    pub(super) fn new(target: Arc<Target>, progress: Progress) -> Self {
        Self {
            sender: Sender {
                target,
                limit: Arc::new(Semaphore::new(AT_ONCE)),
                turns: Arc::default(),
                progress,
            },
            tasks: Vec::new(),
            done: Deliveries::new(),
        }
    }

    /// Starts a task that sends.
    pub(super) fn spawn<F>(
        &mut self,
        work: impl FnOnce(Sender, Arc<Target>) -> F,
    ) -> Result<(), ConvertError>
    where
        F: Future<Output = Result<Deliveries, ConvertError>> + Send + 'static,
    {
        let runtime = crate::runtime::handle();
        let runtime = runtime.map_err(ConvertError::io("start the threads of", "the network"))?;
        let target = Arc::clone(&self.sender.target);
        let work = work(self.sender.clone(), target);
        self.tasks.push(runtime.spawn(work));
        Ok(())
    }

    /// Sends one blob in the background.
    pub(super) fn send(
        &mut self,
        descriptor: Descriptor,
        payload: Payload,
    ) -> Result<(), ConvertError> {
        self.spawn(|sender, _| async move {
            let mut done = Deliveries::new();
            sender.send(&descriptor, payload, &mut done).await?;
            Ok(done)
        })
    }

    /// Says that a blob is there.
    pub(super) fn note(&mut self, digest: &str, size: u64, data: bool, delivery: Delivery) {
        let known = self.done.entry(digest.to_owned());
        known.or_insert((size, data, delivery));
    }

    /// Waits until all that was started is done.
    ///
    /// # Errors
    /// The first failure; what is under way then is given up.
    pub(super) fn finish(&mut self) -> Result<(), ConvertError> {
        let mut failed = None;
        for task in self.tasks.drain(..) {
            if failed.is_some() {
                task.abort();
                continue;
            }
            match block_on(task)? {
                Ok(Ok(done)) => {
                    for (digest, delivery) in done {
                        self.done.entry(digest).or_insert(delivery);
                    }
                }
                Ok(Err(error)) => failed = Some(error),
                Err(lost) => failed = Some(ConvertError::Lost(lost)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// How a blob came there.
    pub(super) fn delivery(&self, digest: &str) -> Delivery {
        let found = self.done.get(digest);
        found.map_or(Delivery::Present, |(_, _, delivery)| *delivery)
    }

    /// Adds up all blobs.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        for (size, data, delivery) in self.done.values() {
            match delivery {
                Delivery::Uploaded if *data => totals.uploaded_data_bytes += size,
                Delivery::Uploaded => totals.uploaded_other_bytes += size,
                Delivery::Mounted => totals.mounted_bytes += size,
                Delivery::Present => totals.present_bytes += size,
            }
        }
    }
}

impl Sender {
    /// Sends one blob when its turn has come.
    ///
    /// # Errors
    /// When it cannot be read or the target does not take it.
    pub(super) async fn send(
        &self,
        descriptor: &Descriptor,
        payload: Payload,
        done: &mut Deliveries,
    ) -> Result<(), ConvertError> {
        let Some(digest) = descriptor.sha256() else {
            let reason = "only digests of the form sha256:HEX are supported";
            return Err(ConvertError::unfit(&descriptor.digest, reason));
        };
        let turn = Arc::clone(self.turns.lock().entry(digest).or_default());
        let _own = turn.lock().await;
        // The semaphore is never closed.
        let _turn = self.limit.acquire().await;
        let size = payload.size();
        let bar = self
            .progress
            .bar(&format!("sending {}", short(&descriptor.digest)), size);
        let sent: Sent = Arc::new(move |bytes| bar.set(bytes));
        let delivery = self.target.put(&digest, &payload, &sent).await?;
        let data = descriptor.media_type == media::NYDUS_BLOB;
        done.insert(descriptor.digest.clone(), (size, data, delivery));
        Ok(())
    }
}

impl Sender {
    /// Brings a blob to the target whose bytes are not on this machine.
    ///
    /// # Errors
    /// When the target lacks it and cannot mount it.
    pub(super) async fn bring(
        &self,
        descriptor: &Descriptor,
        done: &mut Deliveries,
    ) -> Result<(), ConvertError> {
        let size = descriptor.size;
        let brought = match descriptor.sha256() {
            Some(digest) => self.target.bring(&digest, size).await?,
            None => None,
        };
        let Some(delivery) = brought else {
            let reason = "it belongs to a chunk dict, and the target neither has it nor can mount \
                          it; take dicts from the target's registry";
            let what = format!("Blob {}", descriptor.digest);
            return Err(ConvertError::unfit(what, reason));
        };
        done.insert(descriptor.digest.clone(), (size, true, delivery));
        Ok(())
    }
}

/// A descriptor of bytes in memory, and the bytes.
pub(super) fn in_memory(media_type: &str, bytes: Vec<u8>) -> (Descriptor, Payload) {
    let digest = DigestAlgorithm::Sha256.digest(&bytes);
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let descriptor = Descriptor::new(media_type, &digest, size);
    (descriptor, Payload::Bytes(bytes.into()))
}

/// A blob in a file that is named by its digest.
pub(super) fn in_file(dir: &std::path::Path, digest: &Digest, size: u64) -> Payload {
    Payload::File {
        path: dir.join(digest.to_string()),
        size,
    }
}
