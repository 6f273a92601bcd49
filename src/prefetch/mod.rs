//! Fetches ahead what a guest will need, and writes down what it needed.
//!
//! * [`Prefetch`] runs one image's downloads: traces first, since their data is
//!   needed at once, then files that a list or the image's table names, then
//!   the whole image if asked for.
//! * `stages` yield the chunks in order, `pump` brings them and tries again,
//!   `pace` holds a bandwidth, `asked` keeps each chunk from being asked for
//!   twice, [`Progress`] tells how far it is.
//! * `record` makes a trace ([`crate::trace`]) out of what the file system noted;
//!   `place` says where it is kept.
//!
//! Traces, lists and tables are hints: what they name wrongly is passed over,
//! and every byte is proved by the store.
//!
//! May use: `fs`, `image`, `store`, `chunk`, `trace`, `runtime`. Used by: `cli`.

mod asked;
mod options;
mod pace;
mod place;
mod progress;
mod pump;
mod record;
mod run;
mod stages;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

pub use self::options::{Keep, PrefetchOptions, Scope, UnknownScope};
pub use self::progress::{Progress, ProgressSnapshot};

use self::record::Recorder;
use self::run::Plan;
use crate::fs::touches::Touches;
use crate::image::Image;
use crate::store::Store;

/// Stack of the threads: they look up metadata and hold no large buffers.
const STACK: usize = 512 << 10;

/// How long a trace may take to be saved when the daemon ends.
const GOODBYE: Duration = Duration::from_millis(500);

/// Why nothing can be fetched ahead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrefetchError {
    /// The system refuses a thread.
    #[error("Cannot start the thread {name}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The downloads and the recorder of one image. Dropped, the downloads end; call
/// [`Prefetch::finish`] first to keep what was recorded.
#[derive(Debug)]
pub struct Prefetch {
    progress: Arc<Progress>,
    recorder: Option<Arc<Recorder>>,
    end: Arc<Notify>,
}

impl Prefetch {
    /// Starts what the options ask for. Threads are started only for work that
    /// there is.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        options: &PrefetchOptions,
        image: &Arc<Image>,
        store: &Arc<Store>,
    ) -> Result<Self, PrefetchError> {
        let auto = place::auto(options, image);
        let progress = Arc::new(Progress::default());
        let end = Arc::new(Notify::new());
        if let Some(plan) = Plan::new(options, auto.as_deref(), image) {
            let (store, progress, end) =
                (Arc::clone(store), Arc::clone(&progress), Arc::clone(&end));
            spawn("tidegate-ahead", move || plan.run(store, progress, &end))?;
        }
        let recorder = place::record(options, auto.as_deref()).map(|path| {
            Arc::new(Recorder {
                image: Arc::clone(image),
                touches: Arc::new(Touches::new(options.record_chunks)),
                path,
                among_others: options.record == Keep::Auto,
                writing: parking_lot::Mutex::default(),
            })
        });
        if let Some(recorder) = recorder.clone() {
            let after = options.record_for;
            spawn("tidegate-record", move || recorder.run(after))?;
        }
        Ok(Self {
            progress,
            recorder,
            end,
        })
    }

    /// What the file system should note first reads in.
    pub fn touches(&self) -> Option<Arc<Touches>> {
        let recorder = self.recorder.as_ref()?;
        Some(Arc::clone(&recorder.touches))
    }

    /// How far the downloads are.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Ends the downloads, and saves what was recorded so far. A disk that does
    /// not answer costs the trace and not the daemon's end.
    pub fn finish(&self) {
        self.end.notify_one();
        let Some(recorder) = self.recorder.clone() else {
            return;
        };
        let (saved, is_saved) = sync_channel(1);
        let save = move || {
            recorder.save(false);
            // The other end may have given up.
            let _ = saved.send(());
        };
        match spawn("tidegate-record", save) {
            Ok(()) if is_saved.recv_timeout(GOODBYE) == Ok(()) => {}
            Ok(()) => log::warn!("The trace could not be saved within {GOODBYE:?}"),
            Err(error) => log::warn!("The trace is not saved: {error}"),
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.end.notify_one();
        if let Some(recorder) = &self.recorder {
            recorder.touches.close();
        }
    }
}

fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), PrefetchError> {
    thread::Builder::new()
        .name(name.into())
        .stack_size(STACK)
        .spawn(work)
        .map_err(|source| PrefetchError::Thread { name, source })?;
    Ok(())
}
