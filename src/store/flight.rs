//! Singleflight: however many readers want a chunk at once, one task brings
//! it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::error::StoreError;
use crate::backend::Class;
use crate::chunk::Chunk;

/// What all readers of one flight get.
pub(super) type Answer = Result<Bytes, Arc<StoreError>>;

/// An answer that is under way.
pub(super) type Flight = Shared<BoxFuture<'static, Answer>>;

/// How urgent a flight is: as urgent as its most urgent reader.
#[derive(Clone, Debug)]
pub(super) struct Urgency(Arc<AtomicU8>);

impl Urgency {
    fn new(class: Class) -> Self {
        Self(Arc::new(AtomicU8::new(class as u8)))
    }

    /// The class by now.
    pub(super) fn class(&self) -> Class {
        let now = self.0.load(Relaxed);
        [Class::Demand, Class::Readahead]
            .into_iter()
            .find(|class| *class as u8 == now)
            .unwrap_or(Class::Prefetch)
    }

    /// Raises the class; true when it was lower.
    fn raise(&self, class: Class) -> bool {
        self.0.fetch_min(class as u8, Relaxed) > class as u8
    }
}

/// A flight that was joined.
pub(super) struct Joined {
    /// Its answer.
    pub(super) flight: Flight,
    /// Whether others had started it, less urgently.
    pub(super) raised: bool,
    /// Whether it began with this reader.
    pub(super) begun: bool,
}

/// The flights under way. The whole chunk is the key: an image that describes
/// one chunk in two ways gets two flights.
#[derive(Default)]
pub(super) struct Flights {
    flights: Mutex<HashMap<Chunk, (Flight, Urgency)>>,
}

/// Ends a flight, whether its task came to an end, panicked or was dropped.
struct Landing {
    flights: Arc<Flights>,
    chunk: Chunk,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.flights.lock().remove(&self.chunk);
    }
}

impl Flights {
    /// Joins the flight of `chunk`, or starts one whose task does `work()`.
    ///
    /// The task is not the reader's: a reader that goes away leaves the flight
    /// to the others. A flight ends before it is answered, so that a reader
    /// who was told of a failure and tries again starts anew. Must be called
    /// inside a runtime.
    pub(super) fn join<W>(
        self: &Arc<Self>,
        chunk: Chunk,
        class: Class,
        work: impl FnOnce(Urgency) -> W,
    ) -> Joined
    where
        W: Future<Output = Answer> + Send + 'static,
    {
        let urgency = Urgency::new(class);
        let (answer, flight) = {
            let mut flights = self.flights.lock();
            if let Some((flight, urgency)) = flights.get(&chunk) {
                return Joined {
                    flight: flight.clone(),
                    raised: urgency.raise(class),
                    begun: false,
                };
            }
            let (answer, wait) = oneshot::channel();
            let flight = wait.map(move |got| got.unwrap_or_else(|_| lost(&chunk)));
            let flight = flight.boxed().shared();
            flights.insert(chunk, (flight.clone(), urgency.clone()));
            (answer, flight)
        };
        let landing = Landing {
            flights: Arc::clone(self),
            chunk,
        };
        let work = work(urgency);
        tokio::spawn(async move {
            let got = work.await;
            drop(landing);
            // Nobody waits when all readers were cancelled.
            let _ = answer.send(got);
        });
        Joined {
            flight,
            raised: false,
            begun: true,
        }
    }
}

fn lost(chunk: &Chunk) -> Answer {
    Err(Arc::new(StoreError::Lost {
        blob: chunk.blob,
        index: chunk.index,
    }))
}
