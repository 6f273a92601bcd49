//! The body of an answer, held to its length and to the clock.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt as _;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::backend::error::{At, Stage};
use crate::backend::{BackendError, Body};

/// What a body must keep to.
pub(super) struct Limits {
    /// Who sends it.
    pub(super) at: At,
    /// Its length in bytes.
    pub(super) wanted: usize,
    /// Longest wait for the next bytes.
    pub(super) stall: Duration,
    /// Longest time from the request to the last byte.
    pub(super) total: Duration,
    /// When the request was sent.
    pub(super) asked: Instant,
}

/// The bytes of `response`, exactly as many as wanted, or an error at the end.
pub(super) fn checked(response: reqwest::Response, limits: Limits) -> Body {
    let checked = Checked {
        body: Box::pin(response.bytes_stream()),
        got: 0,
        stalled: Box::pin(sleep(limits.stall)),
        waiting: false,
        total: Box::pin(sleep_until(limits.asked + limits.total)),
        limits,
        ended: false,
    };
    checked.boxed()
}

type Parts = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

struct Checked {
    body: Parts,
    got: usize,
    /// Runs while bytes are awaited: a slow reader is not the source's fault.
    stalled: Pin<Box<Sleep>>,
    waiting: bool,
    total: Pin<Box<Sleep>>,
    limits: Limits,
    ended: bool,
}

impl Stream for Checked {
    type Item = Result<Bytes, BackendError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let next = ready!(this.poll_part(context));
        this.ended = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}

impl Checked {
    fn poll_part(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BackendError>>> {
        loop {
            match self.body.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(part))) => {
                    self.waiting = false;
                    if part.is_empty() {
                        continue;
                    }
                    self.got = self.got.saturating_add(part.len());
                    let wanted = self.limits.wanted;
                    let at = || self.limits.at.clone();
                    return Poll::Ready(Some(if self.got > wanted {
                        Err(BackendError::TooLong { at: at(), wanted })
                    } else {
                        Ok(part)
                    }));
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(self.cut_short(Some(error.without_url())))));
                }
                Poll::Ready(None) if self.got < self.limits.wanted => {
                    return Poll::Ready(Some(Err(self.cut_short(None))));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return self.poll_clock(context).map(|late| Some(Err(late))),
            }
        }
    }

    fn poll_clock(&mut self, context: &mut Context<'_>) -> Poll<BackendError> {
        if !self.waiting {
            self.waiting = true;
            let until = Instant::now() + self.limits.stall;
            self.stalled.as_mut().reset(until);
        }
        let (stage, after) = if self.stalled.as_mut().poll(context).is_ready() {
            (Stage::Stall, self.limits.stall)
        } else {
            ready!(self.total.as_mut().poll(context));
            (Stage::Whole, self.limits.total)
        };
        let at = self.limits.at.clone();
        Poll::Ready(BackendError::TimedOut { at, stage, after })
    }

    fn cut_short(&self, source: Option<reqwest::Error>) -> BackendError {
        BackendError::CutShort {
            at: self.limits.at.clone(),
            got: self.got,
            wanted: self.limits.wanted,
            source,
        }
    }
}
