//! The system's log, for lines that begin with their severity: `<6>text`.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;

use log::Level;
use nix::syslog::{Facility, LogFlags, Priority, Severity, openlog, syslog};

/// The name of whoever writes, there.
const NAME: &std::ffi::CStr = c"virtiofsd";

/// Takes one line with each write. A system without a log loses them.
pub(super) struct SystemLog;

impl SystemLog {
    /// Names this process to the log.
    pub(super) fn open() -> Self {
        // Fails for names with a NUL only.
        let _ = openlog(Some(NAME), LogFlags::LOG_PID, Facility::LOG_DAEMON);
        Self
    }
}

impl Write for SystemLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (severity, text) = take_apart(line);
        let priority = Priority::new(severity, Facility::LOG_DAEMON);
        // A line with a NUL is lost.
        let _ = syslog(priority, OsStr::from_bytes(text));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What stands before a line of this level.
pub(super) fn mark(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

fn take_apart(line: &[u8]) -> (Severity, &[u8]) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    for (mark, severity) in [
        ("<3>", Severity::LOG_ERR),
        ("<4>", Severity::LOG_WARNING),
        ("<6>", Severity::LOG_INFO),
        ("<7>", Severity::LOG_DEBUG),
    ] {
        if let Some(text) = line.strip_prefix(mark.as_bytes()) {
            return (severity, text);
        }
    }
    (Severity::LOG_INFO, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_severity() {
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug] {
            let line = format!("{}a line\n", mark(level));
            let (severity, text) = take_apart(line.as_bytes());
            assert_eq!(text, b"a line");
            let wanted = match level {
                Level::Error => Severity::LOG_ERR,
                Level::Warn => Severity::LOG_WARNING,
                Level::Info => Severity::LOG_INFO,
                Level::Debug | Level::Trace => Severity::LOG_DEBUG,
            };
            assert_eq!(severity, wanted);
        }
        let (severity, text) = take_apart(b"counters {}");
        assert_eq!((severity, text), (Severity::LOG_INFO, &b"counters {}"[..]));
    }
}
