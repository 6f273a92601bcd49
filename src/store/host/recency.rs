//! Writes down which chunks were used, now and then, on a thread of its own: hits
//! only set a bit.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use super::usage::Usage;
use crate::store::cache_file::CacheFile;

/// How often uses are written down, and how seldom while there are none.
const OFTEN: Duration = Duration::from_secs(2);
const SELDOM: Duration = Duration::from_secs(32);

type Files = Arc<Mutex<Vec<Weak<CacheFile>>>>;

/// The files whose uses are written down until this is dropped.
pub(super) struct Recency {
    files: Files,
    usage: Arc<Usage>,
    /// Closed, it ends the thread.
    _end: Sender<()>,
}

impl Recency {
    /// Starts the thread. Without it chunks look older than they are.
    pub(super) fn start(usage: &Arc<Usage>) -> Self {
        let (end, ended) = bounded(0);
        let files = Files::default();
        let (theirs, usage_too) = (Arc::clone(&files), Arc::clone(usage));
        let thread = std::thread::Builder::new().name("tidegate-cache".into());
        if let Err(error) = thread.spawn(move || run(&theirs, &usage_too, &ended)) {
            log::warn!("Cannot start a thread that notes which cached chunks are used: {error}");
        }
        Self {
            files,
            usage: Arc::clone(usage),
            _end: end,
        }
    }

    pub(super) fn add(&self, file: &Arc<CacheFile>) {
        self.files.lock().push(Arc::downgrade(file));
    }

    /// Writes down what was used until now.
    pub(super) fn flush(&self) {
        write_down(&self.files, &self.usage);
    }
}

fn run(files: &Files, usage: &Usage, ended: &Receiver<()>) {
    let mut pause = OFTEN;
    while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let some = write_down(files, usage);
        pause = if some { OFTEN } else { (pause * 2).min(SELDOM) };
    }
    write_down(files, usage);
}

/// True: there was something to write down.
fn write_down(files: &Files, usage: &Usage) -> bool {
    let mut all = files.lock();
    all.retain(|file| file.strong_count() > 0);
    let open: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
    drop(all);
    let epoch = usage.epoch();
    let wrote = open.iter().map(|file| file.write_uses(epoch));
    wrote.fold(false, |some, wrote| some | wrote)
}
