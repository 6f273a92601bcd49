//! Singleflight: however many readers want a chunk at once, one task brings
//! it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::error::StoreError;
use crate::chunk::Chunk;

/// What all readers of one flight get.
pub(super) type Answer = Result<Bytes, Arc<StoreError>>;

/// An answer that is under way.
pub(super) type Flight = Shared<BoxFuture<'static, Answer>>;

/// The flights under way. The whole chunk is the key: an image that describes
/// one chunk in two ways gets two flights.
#[derive(Default)]
pub(super) struct Flights {
    flights: Mutex<HashMap<Chunk, Flight>>,
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
    pub(super) fn join<W>(self: &Arc<Self>, chunk: Chunk, work: impl FnOnce() -> W) -> Flight
    where
        W: Future<Output = Answer> + Send + 'static,
    {
        let (answer, flight) = {
            let mut flights = self.flights.lock();
            if let Some(flight) = flights.get(&chunk) {
                return flight.clone();
            }
            let (answer, wait) = oneshot::channel();
            let flight = wait.map(move |got| got.unwrap_or_else(|_| lost(&chunk)));
            let flight = flight.boxed().shared();
            flights.insert(chunk, flight.clone());
            (answer, flight)
        };
        let landing = Landing {
            flights: Arc::clone(self),
            chunk,
        };
        let work = work();
        tokio::spawn(async move {
            let got = work.await;
            drop(landing);
            // Nobody waits when all readers were cancelled.
            let _ = answer.send(got);
        });
        flight
    }
}

fn lost(chunk: &Chunk) -> Answer {
    Err(Arc::new(StoreError::Lost {
        blob: chunk.blob,
        index: chunk.index,
    }))
}
