//! The log: lines on standard error, and the last errors for the API.

#[cfg(test)]
mod panics;

use std::io::Write as _;
use std::sync::OnceLock;
use std::time::SystemTime;

use clap::ValueEnum;
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Serialize;

use crate::cli::log_sink::Sink;
use crate::cli::system_log::mark;
use crate::control::events::Events;

/// The last errors of this process.
pub(super) static EVENTS: Events = Events::new();

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum LogFormat {
    /// `[time LEVEL] message`
    Text,
    /// One JSON object per line: time, level, module, message.
    Json,
    /// What the system's log takes: the severity and the message.
    #[value(skip)]
    System,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::Off,
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

/// Where lines go; standard error, at once, until logging is started.
static SINK: OnceLock<Sink> = OnceLock::new();

/// Starts logging into `sink`. Must be called once.
pub(super) fn start(level: LogLevel, format: LogFormat, sink: Sink) {
    // The level can be changed later; what counts is the maximum of `log`.
    let mut builder = env_logger::Builder::new();
    if matches!(sink, Sink::Direct) {
        // The only one that may be a terminal.
        builder.target(env_logger::Target::Stderr);
    } else {
        builder.target(env_logger::Target::Pipe(Box::new(sink.clone())));
    }
    builder
        .filter_level(LevelFilter::Trace)
        .format_target(false);
    match format {
        LogFormat::Text => {}
        LogFormat::Json => {
            builder.format(|out, record| writeln!(out, "{}", json(record)));
        }
        LogFormat::System => {
            builder
                .format(|out, record| writeln!(out, "{}{}", mark(record.level()), record.args()));
        }
    }
    // A second start would be a mistake of ours; the first one counts.
    let _ = SINK.set(sink);
    let logger = Logger {
        lines: builder.build(),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level.into());
    }
}

/// Has panics told by the log, which waits for nobody.
pub(super) fn take_panics() {
    std::panic::set_hook(Box::new(|panic| {
        log::error!("Thread {:?}: {panic}", std::thread::current().name());
    }));
}

/// Prints a line where the log goes, whatever its level.
pub(super) fn print(text: &str) {
    let line = format!("{text}\n");
    SINK.get().unwrap_or(&Sink::Direct).line(line.as_bytes());
}

/// Waits a moment for what was printed to be read.
pub(super) fn flush() {
    if let Some(sink) = SINK.get() {
        sink.flush();
    }
}

struct Logger {
    lines: env_logger::Logger,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) && self.lines.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if record.level() == Level::Error {
            EVENTS.push(record.args().to_string());
        }
        self.lines.log(record);
    }

    fn flush(&self) {
        self.lines.flush();
    }
}

/// Whether a line may be seen. What libraries tell about their requests in
/// detail may hold secrets that only this crate knows to be some.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.level() <= Level::Warn || metadata.target().starts_with("tidegate")
}

fn json(record: &Record<'_>) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        time: String,
        level: &'a str,
        module: &'a str,
        message: String,
    }
    let line = Line {
        time: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
        level: record.level().as_str(),
        module: record.module_path().unwrap_or_default(),
        message: record.args().to_string(),
    };
    serde_json::to_string(&line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(target: &'static str, level: Level) -> Metadata<'static> {
        Metadata::builder().target(target).level(level).build()
    }

    #[test]
    fn details_of_libraries_are_not_logged() {
        assert!(is_ours(&metadata("tidegate::store", Level::Trace)));
        assert!(is_ours(&metadata("vhost_user_backend", Level::Error)));
        assert!(!is_ours(&metadata("reqwest::connect", Level::Debug)));
        assert!(!is_ours(&metadata("rustls", Level::Info)));
    }

    #[test]
    fn json_lines_hold_what_text_lines_do() {
        let line = json(
            &Record::builder()
                .level(Level::Warn)
                .module_path(Some("tidegate::store"))
                .args(format_args!("one \"line\"\nof two"))
                .build(),
        );
        assert!(!line.contains('\n'), "{line}");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["module"], "tidegate::store");
        assert_eq!(line["message"], "one \"line\"\nof two");
    }
}
