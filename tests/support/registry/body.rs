//! A body in steps: bytes, waits, and a bad end.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::connection::Connection;
use super::counts::Ticket;
use super::timer;
use super::wire::Ending;

/// Bytes handed to hyper at once, so that what was counted as sent was nearly
/// sent.
const FRAME: usize = 64 << 10;

/// A body that comes slowly does so in this rhythm.
const BEAT: Duration = Duration::from_millis(20);

/// What happens next.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Data(Bytes),
    Wait(Duration),
    /// Nothing, until the client leaves.
    Hang,
    /// The connection ends, with RST if so.
    Fail {
        reset: bool,
    },
}

type Wait = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// The body of an answer.
pub(super) struct Steps {
    steps: VecDeque<Step>,
    wait: Option<Wait>,
    reset: Arc<AtomicBool>,
    /// Bytes of a blob count.
    counted: bool,
    /// What the headers promise.
    length: Option<u64>,
    ticket: Option<Ticket>,
    ending: Ending,
}

impl Steps {
    /// A body whose headers promise as much as there is.
    pub(super) fn new(
        steps: Vec<Step>,
        counted: bool,
        connection: &Connection,
        ticket: Ticket,
    ) -> Self {
        let lengths = steps.iter().map(|step| match step {
            Step::Data(bytes) => u64::try_from(bytes.len()).unwrap_or(0),
            _ => 0,
        });
        Self {
            length: Some(lengths.sum()),
            steps: steps.into(),
            wait: None,
            reset: Arc::clone(&connection.reset),
            counted,
            ticket: Some(ticket),
            ending: Arc::clone(&connection.ending),
        }
    }

    /// Promises another length; `None` sends it in chunks.
    pub(super) fn promise(mut self, length: Option<u64>) -> Self {
        self.length = length;
        self
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        // hyper has taken the last bytes, the wire has not sent them yet.
        *self.ending.lock() = self.ticket.take();
    }
}

impl hyper::body::Body for Steps {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx))?;
                self.wait = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Data(bytes)) if bytes.is_empty() => {}
                Some(Step::Data(mut bytes)) => {
                    let frame = bytes.split_to(bytes.len().min(FRAME));
                    if !bytes.is_empty() {
                        self.steps.push_front(Step::Data(bytes));
                    }
                    if let (true, Some(ticket)) = (self.counted, &self.ticket) {
                        ticket.sent(frame.len());
                    }
                    return Poll::Ready(Some(Ok(Frame::data(frame))));
                }
                Some(Step::Wait(length)) => {
                    self.wait = Some(Box::pin(timer::until(Instant::now() + length)));
                }
                // hyper drops the body when the client leaves.
                Some(Step::Hang) => self.wait = Some(Box::pin(std::future::pending())),
                Some(Step::Fail { reset }) => {
                    self.reset.store(reset, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(io::Error::other("a fault that was asked for"))));
                }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Half of the bytes, then `then`. The pause lets them out.
pub(super) fn half(bytes: &Bytes, then: Step) -> Vec<Step> {
    let half = bytes.slice(..bytes.len() / 2);
    vec![Step::Data(half), Step::Wait(Duration::from_millis(1)), then]
}

/// The bytes at so many per second.
pub(super) fn drip(mut bytes: Bytes, rate: u64) -> Vec<Step> {
    let part = rate * u64::try_from(BEAT.as_millis()).unwrap_or(1) / 1000;
    let part = usize::try_from(part.max(1)).unwrap_or(1);
    let mut steps = Vec::new();
    while !bytes.is_empty() {
        let piece = bytes.split_to(part.min(bytes.len()));
        steps.extend([Step::Wait(BEAT), Step::Data(piece)]);
    }
    steps
}
