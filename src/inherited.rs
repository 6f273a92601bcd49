//! Sockets that were open before this process began.
//!
//! A leaf: the only place where a number becomes a file descriptor.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};

/// Takes over descriptor `fd`, a Unix stream socket that listens. Call it once
/// for a number, before the process opens files of its own.
///
/// # Errors
/// When the descriptor is not open or is something else; it is left alone then.
pub fn listener(fd: RawFd) -> io::Result<UnixListener> {
    if fd <= libc::STDERR_FILENO {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "descriptors 0 to 2 are standard input and output",
        ));
    }
    // SAFETY: nothing else in this process owns the descriptor: it was given by
    // number on the command line, and this is called before any is opened. A
    // number that is not open is refused by the first call on it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let listens = socket_domain(&socket)
        .and_then(|domain| Ok(domain == AddressFamily::UNIX && socket_acceptconn(&socket)?));
    let refused = match listens {
        Ok(true) => None,
        Ok(false) => Some(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no Unix socket that listens",
        )),
        Err(error) => Some(error.into()),
    };
    if let Some(error) = refused {
        // Not ours, or not open at all: it must not be closed here.
        std::mem::forget(socket);
        return Err(error);
    }
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(UnixListener::from(socket))
}
