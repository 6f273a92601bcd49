//! The process under test: started with a socket path, measured through
//! `/proc`, gone when dropped.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;
use tempfile::TempDir;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::counters;
use super::frontend::{Config, connect_patiently};
use super::session::{Answer, Session};

/// Stands for the socket's path in a command line.
pub const SOCKET: &str = "{socket}";
/// Stands for a directory of the daemon's own in a command line.
pub const WORK: &str = "{work}";

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    socket: PathBuf,
    work: TempDir,
    /// From exec to the socket file.
    pub started_in: Duration,
}

impl Daemon {
    /// Starts the `tidegate serve` of this build with these arguments.
    ///
    /// # Errors
    /// When it cannot be started or makes no socket.
    pub fn tidegate<A: AsRef<OsStr>>(arguments: &[A]) -> io::Result<Self> {
        Self::command(&serve_line(arguments))
    }

    /// As [`Daemon::tidegate`], with a socket that the caller chooses.
    ///
    /// # Errors
    /// When it cannot be started or makes no socket.
    pub fn tidegate_on<A: AsRef<OsStr>>(socket: &Path, arguments: &[A]) -> io::Result<Self> {
        let work = tempfile::Builder::new().prefix("daemon-").tempdir()?;
        Self::spawn(work, socket.to_owned(), &serve_line(arguments))
    }

    /// Starts any daemon; `{socket}` and `{work}` in its arguments are
    /// replaced.
    ///
    /// # Errors
    /// When it cannot be started or makes no socket; the text holds what it
    /// wrote to standard error.
    pub fn command<A: AsRef<OsStr>>(line: &[A]) -> io::Result<Self> {
        let work = tempfile::Builder::new().prefix("daemon-").tempdir()?;
        let socket = work.path().join("fs.sock");
        Self::spawn(work, socket, line)
    }

    /// As [`Daemon::command`], with a socket that the caller chooses.
    ///
    /// # Errors
    /// When it cannot be started or makes no socket.
    pub fn command_on<A: AsRef<OsStr>>(socket: &Path, line: &[A]) -> io::Result<Self> {
        let work = tempfile::Builder::new().prefix("daemon-").tempdir()?;
        Self::spawn(work, socket.to_owned(), line)
    }

    fn spawn<A: AsRef<OsStr>>(work: TempDir, socket: PathBuf, line: &[A]) -> io::Result<Self> {
        let filled: Vec<OsString> = line
            .iter()
            .map(|part| fill(part.as_ref(), &socket, work.path()))
            .collect();
        let (program, arguments) = filled
            .split_first()
            .ok_or_else(|| io::Error::other("the command line is empty"))?;
        let start = Instant::now();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(work.path().join("stdout"))?)
            .stderr(File::create(work.path().join("stderr"))?)
            .spawn()?;
        let mut daemon = Self {
            child,
            socket,
            work,
            started_in: Duration::ZERO,
        };
        daemon.await_socket(start)?;
        Ok(daemon)
    }

    fn await_socket(&mut self, start: Instant) -> io::Result<()> {
        // A connection would be the daemon's first and perhaps its last, so
        // the listening state is looked up instead.
        while !listens(&self.socket)? {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("{status}: {}", self.complaints())));
            }
            if start.elapsed() > Duration::from_secs(20) {
                let text = format!("no socket after 20 s: {}", self.complaints());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        self.started_in = start.elapsed();
        Ok(())
    }

    /// Path of the vhost-user socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The daemon's directory, removed with it.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Connects and sends INIT.
    ///
    /// # Errors
    /// When either fails.
    pub fn mount(&self, config: &Config) -> Answer<Session> {
        Session::mount(&self.socket, config)
    }

    /// What the daemon wrote to standard error so far.
    pub fn complaints(&self) -> String {
        fs::read_to_string(self.work.path().join("stderr")).unwrap_or_default()
    }

    /// The status, if the daemon has ended.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for the daemon to end by itself.
    ///
    /// # Errors
    /// `TimedOut` when it does not.
    pub fn await_end(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        let pid = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("no process id"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let epoll = Epoll::new()?;
        let event = EpollEvent::new(EventSet::IN, 0);
        epoll.ctl(ControlOperation::Add, pidfd.as_raw_fd(), event)?;
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        epoll.wait(millis, &mut [EpollEvent::default()])?;
        self.child
            .try_wait()?
            .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "the daemon still runs"))
    }

    /// Sends SIGTERM and waits; how it ended and how long that took.
    ///
    /// # Errors
    /// `TimedOut` when it does not end within `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> io::Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        self.signal(Signal::SIGTERM)?;
        let status = self.await_end(timeout)?;
        Ok((status, start.elapsed()))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When there is no such process any more.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        Ok(kill(nix::unistd::Pid::from_raw(pid), signal)?)
    }

    /// Asks for the counters and reads them from standard error.
    ///
    /// # Errors
    /// `TimedOut` when they do not come.
    pub fn counters(&self) -> io::Result<Value> {
        counters::now(|| self.signal(Signal::SIGUSR1), || self.complaints())
    }

    /// The counters that the daemon wrote last, at its end for instance.
    pub fn last_counters(&self) -> Option<Value> {
        counters::all(&self.complaints()).pop()
    }

    /// Time that all living threads have spent on a CPU.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            nanos += text
                .split(' ')
                .next()
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Anonymous memory in KiB.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn anonymous(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        Ok(field(&text, "Anonymous:"))
    }

    /// Number of threads.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn threads(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        Ok(field(&text, "Threads:"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Neither can fail in a way that matters here: it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve_line<A: AsRef<OsStr>>(arguments: &[A]) -> Vec<&OsStr> {
    let program: &OsStr = env!("CARGO_BIN_EXE_tidegate").as_ref();
    let start = ["serve", "--socket", SOCKET].map(AsRef::as_ref);
    let arguments = arguments.iter().map(AsRef::as_ref);
    [program]
        .into_iter()
        .chain(start)
        .chain(arguments)
        .collect()
}

fn fill(part: &OsStr, socket: &Path, work: &Path) -> OsString {
    match part.to_str() {
        Some(text) => text
            .replace(SOCKET, &socket.to_string_lossy())
            .replace(WORK, &work.to_string_lossy())
            .into(),
        None => part.to_owned(),
    }
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Whether a Unix socket at `path` accepts connections (flag `__SO_ACCEPTCON`
/// in `/proc/net/unix`).
fn listens(path: &Path) -> io::Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    let table = fs::read_to_string("/proc/net/unix")?;
    let path = path.to_string_lossy();
    Ok(table.lines().any(|line| {
        line.ends_with(path.as_ref()) && line.split_whitespace().nth(3) == Some("00010000")
    }))
}

/// Connects to any Unix socket as soon as it listens.
///
/// # Errors
/// `TimedOut` when nothing does.
pub fn connect(socket: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    connect_patiently(socket, Duration::from_secs(20))
}
