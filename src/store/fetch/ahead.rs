//! Readahead: chunks in front of readers who go forward.

use std::sync::Arc;

use super::plan::Plan;
use super::streams::Run;
use crate::backend::Class;
use crate::chunk::Chunk;
use crate::store::Store;

/// Most chunks that one run looks at.
const LOOK: u32 = 4096;

impl Store {
    /// Notes that a reader touched a chunk which it had to wait for, or which
    /// was fetched ahead of it, and goes on fetching ahead. Must run inside the
    /// runtime.
    pub(in crate::store) fn touched(self: &Arc<Self>, chunk: &Chunk) {
        let limits = self.fetcher.link.limits();
        let run = self.fetcher.streams.touch(chunk.blob, chunk.index, &limits);
        let Some(run) = run else { return };
        let store = Arc::clone(self);
        tokio::spawn(async move {
            store.blocking(move |store| store.issue(run)).await;
            store.pump();
        });
    }

    /// Wants the chunks of a run that are not there yet. May wait for the disk.
    fn issue(&self, run: Run) {
        let mut left = run.bytes;
        let mut index = run.from;
        while index < run.from.saturating_add(LOOK) {
            if self.records.is_apart(run.blob, index) {
                break;
            }
            let Some(next) = self.unit_at(run.blob, index) else {
                break;
            };
            if !self.is_here_whole(&next) {
                // A unit that the window cannot hold would keep the link from
                // readers for longer than it saves one of them.
                let Some(rest) = left.checked_sub(next.stored_len().into()) else {
                    break;
                };
                left = rest;
                self.fetcher.queue.lock().add(next, Class::Readahead);
            }
            index = next.end().max(index.saturating_add(1));
        }
        self.fetcher.streams.issued(&run, index);
    }

    /// Tells the streams what a request brings in any case.
    pub(super) fn note_issued(&self, plan: &Plan) {
        if let (Some(first), Some(last)) = (plan.parts.first(), plan.parts.last()) {
            let (from, end) = (first.unit.end(), last.unit.end());
            self.fetcher
                .streams
                .come_along(first.unit.blob(), from, end);
        }
    }
}
