//! Listeners, connections, and what they share.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::answer;
use super::auth::Tokens;
use super::connection::Connection;
use super::counts::Tally;
use super::fault::Faults;
use super::link::Link;
use super::links::Links;
use super::settings::Settings;
use super::wire::Wire;

/// Bytes between us and a client that does not read.
const SEND_BUFFER: u32 = 128 << 10;

/// What all connections share.
#[derive(Debug)]
pub(super) struct State {
    /// The two ports.
    pub(super) addresses: [SocketAddr; 2],
    pub(super) directory: PathBuf,
    pub(super) counts: Arc<Tally>,
    pub(super) faults: Faults,
    pub(super) tokens: Tokens,
    pub(super) links: Links,
    settings: Mutex<Arc<Settings>>,
    link: Arc<Link>,
    blobs: Mutex<HashMap<String, (SystemTime, Bytes)>>,
}

impl State {
    pub(super) fn new(
        directory: &Path,
        settings: Settings,
        listeners: &[TcpListener; 2],
    ) -> io::Result<Self> {
        Ok(Self {
            addresses: [listeners[0].local_addr()?, listeners[1].local_addr()?],
            directory: directory.to_owned(),
            counts: Arc::new(Tally::new()),
            faults: Faults::new(&settings.faults, settings.seed),
            tokens: Tokens::default(),
            links: Links::new(),
            link: Arc::new(Link::new(settings.bandwidth)),
            settings: Mutex::new(Arc::new(settings)),
            blobs: Mutex::new(HashMap::new()),
        })
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.lock())
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings.lock();
        let mut changed = Settings::clone(&settings);
        change(&mut changed);
        self.link.set_rate(changed.bandwidth);
        self.faults.replace(&changed.faults, changed.seed);
        *settings = Arc::new(changed);
    }

    pub(super) fn expire(&self) {
        self.tokens.expire();
        self.links.expire();
    }

    /// The bytes of a blob, read again when its file has changed.
    pub(super) fn blob(&self, id: &str) -> io::Result<Bytes> {
        let path = self.directory.join(id);
        let metadata = fs::metadata(&path)?;
        let (changed, length) = (metadata.modified()?, metadata.len());
        let mut blobs = self.blobs.lock();
        if let Some((when, bytes)) = blobs.get(id)
            && *when == changed
            && u64::try_from(bytes.len()) == Ok(length)
        {
            return Ok(bytes.clone());
        }
        let bytes = Bytes::from(fs::read(&path)?);
        blobs.insert(id.to_owned(), (changed, bytes.clone()));
        Ok(bytes)
    }
}

/// Two ports of 127.0.0.1, the first of the caller's choice (0: any). Called
/// inside the runtime.
pub(super) fn listen(port: u16) -> io::Result<[TcpListener; 2]> {
    let open = |port| {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        // Connections inherit this.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
        socket.listen(1024)
    };
    Ok([open(port)?, open(0)?])
}

/// Serves until `stopped` is dropped.
pub(super) async fn serve(
    state: Arc<State>,
    listeners: [TcpListener; 2],
    stopped: oneshot::Receiver<()>,
) {
    let [first, second] =
        listeners.map(|listener| tokio::spawn(accept(Arc::clone(&state), listener)));
    // An error here is the sender's drop, which is the sign to stop.
    let _ = stopped.await;
    first.abort();
    second.abort();
}

async fn accept(state: Arc<State>, listener: TcpListener) -> io::Result<()> {
    let second = listener.local_addr()? == state.addresses[1];
    loop {
        // Out of descriptors is no reason to stop: some will close.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        state.counts.connected();
        tokio::spawn(converse(Arc::clone(&state), stream, second));
    }
}

async fn converse(state: Arc<State>, stream: TcpStream, second_port: bool) -> io::Result<()> {
    let connection = Arc::new(Connection::new(second_port));
    let wire = Wire::new(stream, Arc::clone(&state.link), &connection)?;
    let service = service_fn(move |request| {
        answer::answer(Arc::clone(&state), Arc::clone(&connection), request)
    });
    // Errors are the client's leaving, or faults.
    let _ = http1::Builder::new()
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(wire), service)
        .await;
    Ok(())
}
