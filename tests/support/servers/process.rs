//! A server as a child process.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take until it listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ports tried, since another process may take one between finding and using it.
const TRIES: usize = 5;

/// A running server.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ports: Vec<u16>,
    home: TempDir,
}

/// A directory for a server.
///
/// # Errors
/// When it cannot be made.
pub fn home(name: &str) -> io::Result<TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .tempdir()
}

impl Process {
    /// Starts what `command` makes of its directory and `ports` free ports, and
    /// waits until it listens on all of them.
    ///
    /// # Errors
    /// When it does not; the text holds what it wrote.
    pub fn start(
        home: TempDir,
        ports: usize,
        command: impl Fn(&Path, &[u16]) -> io::Result<Command>,
    ) -> io::Result<Self> {
        let mut home = home;
        for left in (0..TRIES).rev() {
            let ports = free_ports(ports)?;
            let mut command = command(home.path(), &ports)?;
            let log = File::create(home.path().join("log"))?;
            let child = command
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?;
            let mut process = Self { child, ports, home };
            match process.await_ports() {
                Err(_) if left > 0 && process.child.try_wait()?.is_some() => {
                    home = process.into_home()?;
                }
                result => return result.map(|()| process),
            }
        }
        Err(io::Error::other("no free port"))
    }

    fn await_ports(&mut self) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        while !self.ports.iter().all(|port| listens(*port)) {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("{status}: {}", self.log())));
            }
            if Instant::now() > end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, self.log()));
            }
            // That a port is listened on is no event of ours.
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends the server and keeps its directory.
    fn into_home(mut self) -> io::Result<TempDir> {
        let empty = home("empty")?;
        Ok(std::mem::replace(&mut self.home, empty))
    }

    /// The port with this number, counted from 0.
    pub fn port(&self, number: usize) -> u16 {
        self.ports[number]
    }

    /// The server's directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Neither can fail in a way that matters here: it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let sockets: io::Result<Vec<_>> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    let ports = sockets?.into_iter();
    ports
        .map(|socket| Ok(socket.local_addr()?.port()))
        .collect()
}

fn listens(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// Runs a program to its end and gives back what it printed.
///
/// # Errors
/// When it fails; the text holds what it complained of.
pub fn run(command: &mut Command) -> io::Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("{command:?}: {text}")));
    }
    Ok(output.stdout)
}
