//! A thread that reads requests from `/dev/fuse` and answers them.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::Semaphore;

use crate::destination::Destination;
use crate::fs::Errno;
use crate::fuse::{LONGEST_REQUEST, Outcome, Pending, REPLY_HEADER_LEN, ReplyTo, Server};

/// Most bytes of data that the kernel asks for: what the mount option
/// `max_read` of fuse-backend-rs allows (256 pages and 4096 bytes).
const MAX_DATA: usize = 256 * 4096 + 4096;

/// Most reads that wait at once and hold memory for their replies.
pub(super) const MAX_WAITING: usize = 64;

/// What the threads of a mount share.
pub(super) struct Worker {
    /// The protocol.
    pub(super) server: Arc<Server>,
    /// This thread's own clone of the device: a reply must be written to where
    /// its request was read.
    pub(super) device: Arc<File>,
    /// Bounds the memory of waiting reads, for all threads of the mount.
    pub(super) waiting: Arc<Semaphore>,
}

impl Worker {
    /// Answers requests until the file system is unmounted.
    pub(super) fn run(self) {
        // The kernel wants room for its largest WRITE, headers and all. Both
        // buffers are touched, and thus take memory, only as far as needed.
        let mut request = vec![0; LONGEST_REQUEST];
        let mut reply = vec![0; REPLY_HEADER_LEN + MAX_DATA];
        loop {
            match (&*self.device).read(&mut request) {
                Ok(len) => self.serve(request.get(..len).unwrap_or_default(), &mut reply),
                Err(error) if is_transient(&error) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return,
                Err(error) => {
                    log::error!("Cannot read from /dev/fuse, a thread of the mount ends: {error}");
                    return;
                }
            }
        }
    }

    fn serve(&self, request: &[u8], reply: &mut [u8]) {
        let mut out = Destination::from_slice(reply);
        match self.server.handle(request, &mut out) {
            Outcome::Done(len) => send(&self.device, reply.get(..len).unwrap_or_default()),
            Outcome::NoReply => {}
            Outcome::Pending(pending) => self.spawn(pending),
        }
    }

    fn spawn(&self, pending: Pending) {
        let Pending { reply, read } = pending;
        let device = self.device.clone();
        let runtime = match crate::runtime::handle() {
            Ok(runtime) => runtime,
            Err(error) => {
                log::error!("Cannot start the threads that fetch, answering EIO: {error}");
                finish(&device, reply, Err(Errno::EIO));
                return;
            }
        };
        let waiting = self.waiting.clone();
        runtime.spawn(async move {
            // The semaphore is never closed.
            let _permit = waiting.acquire().await;
            let result = AssertUnwindSafe(read).catch_unwind().await;
            let result = result.unwrap_or_else(|_| {
                log::error!("A fetch panicked, answered with EIO; report this as a bug");
                Err(Errno::EIO)
            });
            finish(&device, reply, result);
        });
    }
}

/// Writes the reply to a read that waited.
fn finish(device: &File, reply: ReplyTo, result: Result<crate::fs::Pieces, Errno>) {
    let mut buffer = vec![0; REPLY_HEADER_LEN + reply.size()];
    let len = reply.finish(result, &mut Destination::from_slice(&mut buffer));
    send(device, buffer.get(..len).unwrap_or_default());
}

fn send(mut device: &File, reply: &[u8]) {
    if reply.is_empty() {
        return;
    }
    match device.write(reply) {
        Ok(_) => {}
        // The request was given up, or the mount is gone.
        Err(error) if is_transient(&error) || error.raw_os_error() == Some(libc::ENODEV) => {}
        Err(error) => log::error!("Cannot write a reply to /dev/fuse: {error}"),
    }
}

/// Whether the next request may be read all the same: an interrupted call, or
/// a request that was given up while it was handed over.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::ENOENT | libc::EAGAIN)
    )
}
