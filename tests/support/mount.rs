//! `tidegate mount` as a child process, on a directory of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::mount::UnmountFlags;
use serde_json::Value;
use tempfile::TempDir;

use super::counters;

/// A mounted image; unmounted when dropped.
#[derive(Debug)]
pub struct HostMount {
    child: Child,
    home: TempDir,
}

/// Whether this machine lets us mount.
pub fn is_possible() -> bool {
    Path::new("/dev/fuse").exists() && rustix::process::geteuid().is_root()
}

impl HostMount {
    /// Mounts what these options of `tidegate mount` name.
    ///
    /// # Errors
    /// When nothing is mounted within 20 s; the text holds what the child wrote
    /// to standard error.
    pub fn new(options: &[OsString]) -> io::Result<Self> {
        let home = tempfile::Builder::new().prefix("mount-").tempdir()?;
        fs::create_dir(home.path().join("on"))?;
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("mount")
            .arg(home.path().join("on"))
            .args(options)
            .stdin(Stdio::null())
            .stderr(File::create(home.path().join("stderr"))?)
            .spawn()?;
        let mut mount = Self { child, home };
        let end = Instant::now() + Duration::from_secs(20);
        while !mount.is_mounted()? {
            if let Some(status) = mount.child.try_wait()? {
                let text = format!("{status}: {}", mount.complaints());
                return Err(io::Error::other(text));
            }
            if Instant::now() > end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, mount.complaints()));
            }
            // A mount is no event that can be waited for without a poll.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(mount)
    }

    /// The directory that shows the image.
    pub fn path(&self) -> PathBuf {
        self.home.path().join("on")
    }

    /// Whether something is mounted there.
    ///
    /// # Errors
    /// When the directory cannot be looked at.
    pub fn is_mounted(&self) -> io::Result<bool> {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        let path = self.path();
        let path = path.to_string_lossy();
        let mounted = table
            .lines()
            .any(|line| line.split(' ').nth(4) == Some(path.as_ref()));
        // Asking a mount that is not served yet waits until it is.
        Ok(mounted && fs::metadata(self.path())?.ino() > 0)
    }

    /// What the child wrote to standard error so far.
    pub fn complaints(&self) -> String {
        fs::read_to_string(self.home.path().join("stderr")).unwrap_or_default()
    }

    /// Sends a signal to the child.
    ///
    /// # Errors
    /// When there is no such process any more.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }

    /// Asks for the counters and reads them from standard error.
    ///
    /// # Errors
    /// `TimedOut` when they do not come.
    pub fn counters(&self) -> io::Result<Value> {
        counters::now(|| self.signal(Signal::SIGUSR1), || self.complaints())
    }

    /// Sends SIGTERM and waits; how it ended and how long that took.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn terminate(&mut self) -> io::Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        self.signal(Signal::SIGTERM)?;
        let status = self.child.wait()?;
        Ok((status, start.elapsed()))
    }
}

impl Drop for HostMount {
    fn drop(&mut self) {
        // Its end releases whoever still waits for an answer.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = rustix::mount::unmount(self.path(), UnmountFlags::DETACH);
    }
}
