//! Where lines of the log go, without anybody waiting for who reads them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;

use super::system_log::SystemLog;

/// Longest line, in bytes: Kata reads lines of up to 64 KiB and stops for good
/// at a longer one.
const LINE_MAX: usize = 32 << 10;

/// What stands at the end of a line that was cut.
const CUT: &[u8] = b" ... (cut)\n";

/// Most lines and bytes that wait for a reader.
const WAITING_LINES: usize = 4096;
const WAITING_BYTES: usize = 1 << 20;

/// How long the end of the process waits for lines to be read.
const PATIENCE: Duration = Duration::from_millis(100);

/// Old files that a rotation keeps.
const KEPT: u32 = 10;

/// Takes lines; clones write to the same place.
#[derive(Clone)]
pub(super) enum Sink {
    /// Standard error, at once.
    Direct,
    /// A file, at once.
    File(Arc<Mutex<LogFile>>),
    /// Standard error or the system's log by a thread, which may wait for a reader.
    Aside(Arc<Aside>),
}

impl Sink {
    /// Standard error of a process that must never wait: what cannot hold it up
    /// is written to directly.
    pub(super) fn never_waiting() -> Self {
        let kind = File::open("/proc/self/fd/2").and_then(|file| file.metadata());
        // A pipe cannot be told apart when it cannot be opened: then it is one.
        let direct = kind.is_ok_and(|meta| {
            let null = meta.file_type().is_char_device() && meta.rdev() == libc::makedev(1, 3);
            meta.file_type().is_file() || null
        });
        if direct {
            return Self::Direct;
        }
        Aside::start().map_or(Self::Direct, Self::Aside)
    }

    /// The system's log, by a thread, which may wait for it.
    pub(super) fn system() -> Self {
        Aside::over(SystemLog::open()).map_or(Self::Direct, Self::Aside)
    }

    /// A file that lines are added to; beyond `limit` bytes it is set aside and
    /// begun anew, if there is a limit.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn file(path: &Path, limit: Option<u64>) -> io::Result<Self> {
        let file = LogFile::open(path, limit)?;
        if limit.is_some() {
            // Whoever logs may be in no position to rename files.
            return Aside::over(file).map(Self::Aside);
        }
        Ok(Self::File(Arc::new(Mutex::new(file))))
    }

    /// Writes one line, or loses it.
    pub(super) fn line(&self, line: &[u8]) {
        let mut cut = Vec::new();
        let line = if line.len() > LINE_MAX {
            let head = line.get(..LINE_MAX - CUT.len()).unwrap_or_default();
            cut.extend_from_slice(head);
            cut.extend_from_slice(CUT);
            &cut
        } else {
            line
        };
        match self {
            // Nobody can be told that the log cannot be written.
            Self::Direct => drop(io::stderr().lock().write_all(line)),
            Self::File(file) => file.lock().line(line),
            Self::Aside(aside) => aside.line(line),
        }
    }

    /// Waits a moment for lines to be read.
    pub(super) fn flush(&self) {
        let Self::Aside(aside) = self else {
            return;
        };
        let end = Instant::now() + PATIENCE;
        while aside.waiting.load(Ordering::Acquire) > 0 && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A queue before a thread that writes.
pub(super) struct Aside {
    lines: Sender<Vec<u8>>,
    /// Bytes that are not written yet.
    waiting: AtomicUsize,
    lost: AtomicU64,
}

impl Aside {
    fn start() -> io::Result<Arc<Self>> {
        Self::over(io::stderr())
    }

    fn over(mut out: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let (lines, queue) = bounded::<Vec<u8>>(WAITING_LINES);
        let aside = Arc::new(Self {
            lines,
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        });
        let own = Arc::clone(&aside);
        let work = move || {
            for line in queue {
                let _ = out.write_all(&line);
                let lost = own.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let said = format!("{lost} lines of the log were lost: nobody read them\n");
                    let _ = out.write_all(said.as_bytes());
                }
                own.waiting.fetch_sub(line.len(), Ordering::Release);
            }
        };
        thread::Builder::new()
            .name("tidegate-log".into())
            .stack_size(128 << 10)
            .spawn(work)?;
        Ok(aside)
    }

    fn line(&self, line: &[u8]) {
        let waiting = self.waiting.fetch_add(line.len(), Ordering::AcqRel);
        if waiting > WAITING_BYTES || self.lines.try_send(line.to_vec()).is_err() {
            self.waiting.fetch_sub(line.len(), Ordering::Release);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A file of lines.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    len: u64,
    limit: Option<u64>,
}

impl LogFile {
    fn open(path: &Path, limit: Option<u64>) -> io::Result<Self> {
        let file = append(path)?;
        Ok(Self {
            path: path.to_owned(),
            len: file.metadata()?.len(),
            file,
            limit,
        })
    }

    fn line(&mut self, line: &[u8]) {
        let len = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self
            .limit
            .is_some_and(|limit| self.len > 0 && self.len.saturating_add(len) > limit)
        {
            self.rotate();
        }
        // Nobody can be told that the log cannot be written.
        let _ = self.file.write_all(line);
        self.len = self.len.saturating_add(len);
    }

    /// Sets the file aside as `PATH.1`, older ones as `PATH.2` and so on.
    fn rotate(&mut self) {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..KEPT).rev() {
            // There may be fewer.
            let _ = std::fs::rename(numbered(number), numbered(number + 1));
        }
        let _ = std::fs::rename(&self.path, numbered(1));
        if let Ok(file) = append(&self.path) {
            self.file = file;
            self.len = 0;
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Writes when it is let.
    struct Gate(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_reads_are_lost_and_counted_and_nobody_waits() {
        let (open, gate) = channel();
        let (out, written) = channel();
        let aside = Aside::over(Gate(gate, out)).unwrap();
        let sink = Sink::Aside(aside);
        for _ in 0..10_000 {
            sink.line(b"a line\n");
        }
        drop(open);
        let first = written.recv().unwrap();
        assert_eq!(first, b"a line\n");
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains("nobody read them") {
            said.extend(written.recv().unwrap());
        }
        let said = String::from_utf8(said).unwrap();
        let lost = said.split_whitespace().next().unwrap().parse::<u64>();
        assert!(lost.unwrap() >= 5_000, "{said}");
    }

    #[test]
    fn long_lines_are_cut() {
        let (open, gate) = channel();
        let (out, written) = channel();
        let sink = Sink::Aside(Aside::over(Gate(gate, out)).unwrap());
        sink.line(&vec![b'x'; 1 << 20]);
        open.send(()).unwrap();
        let line = written.recv().unwrap();
        assert_eq!(line.len(), LINE_MAX);
        assert!(line.ends_with(CUT));
    }

    #[test]
    fn files_are_set_aside_at_their_limit() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("d.log");
        let sink = Sink::file(&path, Some(20)).unwrap();
        for line in ["first line\n", "second line\n", "third line\n"] {
            sink.line(line.as_bytes());
        }
        let Sink::Aside(aside) = &sink else {
            panic!("a file that is set aside is written by a thread");
        };
        while aside.waiting.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        let text = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();
        assert_eq!(text("d.log"), "third line\n");
        assert_eq!(text("d.log.1"), "second line\n");
        assert_eq!(text("d.log.2"), "first line\n");
    }
}
