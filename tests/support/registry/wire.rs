//! A connection whose writes wait for their turn on the link.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection::Connection;
use super::counts::Ticket;
use super::link::Link;
use super::timer;

/// How much too early a slice may go, which saves most of the timers.
const EARLY: Duration = Duration::from_micros(300);

/// The request whose body is on its way out.
pub(super) type Ending = Arc<Mutex<Option<Ticket>>>;

type Wait = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    link: Arc<Link>,
    wait: Option<Wait>,
    granted: usize,
    sent: Option<Instant>,
    /// Unpaced, for the control endpoints.
    free: Arc<AtomicBool>,
    reset: Arc<AtomicBool>,
    ending: Ending,
}

impl Wire {
    pub(super) fn new(
        stream: TcpStream,
        link: Arc<Link>,
        connection: &Connection,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            link,
            wait: None,
            granted: 0,
            sent: None,
            free: Arc::clone(&connection.free),
            reset: Arc::clone(&connection.reset),
            ending: Arc::clone(&connection.ending),
        })
    }

    fn poll_grant(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx))?;
                self.wait = None;
            }
            if self.granted > 0 {
                return Poll::Ready(Ok(self.granted.min(wanted)));
            }
            let now = Instant::now();
            let went_on = self
                .sent
                .is_some_and(|sent| now.duration_since(sent) < Duration::from_millis(5));
            let slice = self.link.take(wanted, went_on);
            self.granted = slice.bytes;
            if let Some(at) = slice.at
                && at > now + EARLY
            {
                self.wait = Some(Box::pin(timer::until(at)));
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() || self.free.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_write(cx, data);
        }
        let most = ready!(self.poll_grant(cx, data.len()))?;
        let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &data[..most]))?;
        self.granted -= sent;
        self.sent = Some(Instant::now());
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper comes here when it has nothing left to write.
        self.ending.lock().take();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            self.stream.set_zero_linger()?;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Closing now sends RST. It fails if the peer is gone already.
            let _ = self.stream.set_zero_linger();
        }
    }
}
