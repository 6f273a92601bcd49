//! Readers that go forward through a blob, and how far to be ahead of them.
//!
//! A stream is found when chunks are touched in the order of their numbers
//! with small steps. Like the kernel's readahead it doubles its window while it
//! is followed, and issues the next run when the reader is half through the
//! last, so that a reader who keeps up never waits.

use parking_lot::Mutex;

use super::link::Limits;

/// Streams that are followed at once; the one not used for longest goes.
const STREAMS: usize = 16;

/// Steps forward that still belong to a stream, in chunks.
const STEP: u32 = 8;

/// Steps that make a reader a stream.
const CONFIRMED: u32 = 2;

/// First window in bytes.
const FIRST_WINDOW: u64 = 64 << 10;

/// One reader.
#[derive(Clone, Copy, Debug)]
struct Stream {
    id: u64,
    blob: u16,
    /// Last chunk that was touched.
    at: u32,
    /// Behind the last chunk that was issued.
    issued: u32,
    /// Touching this chunk or a later one issues the next run.
    trigger: u32,
    steps: u32,
    window: u64,
    stamp: u64,
}

/// Chunks to fetch ahead: from number `from` on, `bytes` stored bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// The reader.
    stream: u64,
    pub(super) blob: u16,
    pub(super) from: u32,
    pub(super) bytes: u64,
}

/// The readers of one store.
#[derive(Default)]
pub(super) struct Streams {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    streams: Vec<Stream>,
    clock: u64,
}

impl Streams {
    /// Notes that a reader touched a chunk; what to fetch ahead of it now.
    pub(super) fn touch(&self, blob: u16, index: u32, limits: &Limits) -> Option<Run> {
        let mut state = self.state.lock();
        state.clock += 1;
        let clock = state.clock;
        let found = state.streams.iter_mut().find(|stream| {
            stream.blob == blob
                && index >= stream.at
                && index <= stream.issued.max(stream.at).saturating_add(STEP)
        });
        let Some(stream) = found else {
            state.start(blob, index);
            return None;
        };
        stream.stamp = clock;
        if index == stream.at {
            return None;
        }
        stream.at = index;
        stream.steps = stream.steps.saturating_add(1);
        stream.issued = stream.issued.max(index.saturating_add(1));
        if stream.steps < CONFIRMED || index < stream.trigger {
            return None;
        }
        stream.window = (stream.window * 2)
            .max(limits.round_trip / 2)
            .min(limits.distance);
        // Until the run is known, nothing more is issued.
        stream.trigger = u32::MAX;
        Some(Run {
            stream: stream.id,
            blob,
            from: stream.issued,
            bytes: stream.window,
        })
    }

    /// Notes that the chunks of a run up to `end` (exclusive) were issued.
    pub(super) fn issued(&self, run: &Run, end: u32) {
        let mut state = self.state.lock();
        let mut streams = state.streams.iter_mut();
        if let Some(stream) = streams.find(|stream| stream.id == run.stream) {
            stream.went(run.from, end);
        }
    }

    /// Notes that chunks `from..end` come in any case: for the reader who is
    /// right before them.
    pub(super) fn come_along(&self, blob: u16, from: u32, end: u32) {
        let mut state = self.state.lock();
        let mut streams = state.streams.iter_mut();
        let before = |stream: &&mut Stream| {
            stream.blob == blob && (stream.at..=stream.issued).contains(&from)
        };
        if let Some(stream) = streams.find(before) {
            stream.went(from, end);
        }
    }
}

impl Stream {
    fn went(&mut self, from: u32, end: u32) {
        self.issued = self.issued.max(end);
        self.trigger = from + end.saturating_sub(from) / 2;
    }
}

impl State {
    fn start(&mut self, blob: u16, index: u32) {
        if self.streams.len() >= STREAMS {
            let oldest = self.streams.iter().enumerate();
            if let Some((at, _)) = oldest.min_by_key(|(_, stream)| stream.stamp) {
                self.streams.swap_remove(at);
            }
        }
        self.streams.push(Stream {
            id: self.clock,
            blob,
            at: index,
            issued: index.saturating_add(1),
            trigger: 0,
            steps: 0,
            window: FIRST_WINDOW / 2,
            stamp: self.clock,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        round_trip: 0,
        readahead: 1 << 20,
        distance: 1 << 20,
        beside: 1 << 20,
        prefetch: 1 << 20,
        trickle: 1 << 20,
    };

    #[test]
    fn a_reader_who_goes_forward_is_preceded_by_growing_runs() {
        let streams = Streams::default();
        assert_eq!(streams.touch(0, 10, &LIMITS), None);
        assert_eq!(streams.touch(0, 11, &LIMITS), None);
        let run = streams.touch(0, 12, &LIMITS).unwrap();
        assert_eq!((run.from, run.bytes), (13, 64 << 10));
        streams.issued(&run, 33);
        assert!((13..23).all(|index| streams.touch(0, index, &LIMITS).is_none()));
        let run = streams.touch(0, 23, &LIMITS).unwrap();
        assert_eq!((run.from, run.bytes), (33, 128 << 10));
        streams.issued(&run, 53);
        for index in 24..2000 {
            if let Some(run) = streams.touch(0, index, &LIMITS) {
                assert!(run.bytes <= LIMITS.distance);
                streams.issued(&run, run.from + 20);
            }
        }
    }

    #[test]
    fn readers_who_jump_about_are_left_alone() {
        let streams = Streams::default();
        for index in (0..100_000).step_by(97) {
            assert_eq!(streams.touch(0, index, &LIMITS), None);
        }
    }

    #[test]
    fn readers_of_two_blobs_are_two() {
        let streams = Streams::default();
        for index in 0..2 {
            assert_eq!(streams.touch(0, index, &LIMITS), None);
            assert_eq!(streams.touch(1, index, &LIMITS), None);
        }
        assert!(streams.touch(0, 2, &LIMITS).is_some());
        assert!(streams.touch(1, 2, &LIMITS).is_some());
    }
}
