//! A trace as text: chunks of files in the order of their first read.
//!
//! ```text
//! # tidegate trace 1
//! # chunk-size 1048576
//! # complete
//! 0 /usr/bin/python3.12
//! 3 /usr/lib/libc.so.6
//! ```
//!
//! A line is the position of a chunk in a file and the file's path, with
//! escapes as in messages ([`path_text`]). It says nothing of blobs, so it is
//! good for another compressor, a chunk dict or the next version of the image;
//! with the chunk size, for another one too. `complete` stands where recording
//! was not cut short. Everything is a hint: what cannot be read is skipped.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use crate::chunk::CHUNK_SIZE_RANGE;
use crate::path_text;

/// Most bytes of a trace that are read.
const BYTES_MAX: u64 = 32 << 20;

/// Bytes in which the remarks are found.
const HEAD_BYTES: u64 = 1 << 10;

/// First line of a trace.
const TITLE: &str = "# tidegate trace 1";

/// A chunk of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Position of the chunk in the file, from 0.
    pub position: u64,
    /// Path from the root, without a slash before it.
    pub path: Vec<u8>,
}

/// A trace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trace {
    /// Bytes of the chunks that positions count; none if it is not told.
    pub chunk_size: Option<u32>,
    /// Whether recording ended by itself.
    pub complete: bool,
    /// The chunks, in order.
    pub lines: Vec<Line>,
    /// Lines that make no sense.
    pub ignored: usize,
}

impl Trace {
    /// Reads what can be read of a trace.
    pub fn parse(text: &[u8]) -> Self {
        let mut trace = Self::default();
        for line in text.split(|&byte| byte == b'\n') {
            match std::str::from_utf8(line).map(str::trim_start) {
                Ok("") => {}
                Ok(line) => trace.take(line),
                Err(_) => trace.ignored += 1,
            }
        }
        trace
    }

    fn take(&mut self, line: &str) {
        if let Some(remark) = line.strip_prefix('#') {
            match remark.trim().split_once(' ') {
                Some(("chunk-size", size)) => {
                    let size = size.parse::<u32>().ok();
                    self.chunk_size = size
                        .filter(|size| size.is_power_of_two() && CHUNK_SIZE_RANGE.contains(size));
                }
                None if remark.trim() == "complete" => self.complete = true,
                _ => {}
            }
            return;
        }
        let found = line.split_once(' ').and_then(|(position, path)| {
            Some(Line {
                position: position.parse().ok()?,
                path: path_text::read(path.strip_prefix('/')?)?,
            })
        });
        match found {
            Some(line) => self.lines.push(line),
            None => self.ignored += 1,
        }
    }

    /// Reads the trace at `path`.
    ///
    /// # Errors
    /// When the file cannot be read. What is behind its first 32 MiB is left
    /// out.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut text = Vec::new();
        File::open(path)?.take(BYTES_MAX).read_to_end(&mut text)?;
        Ok(Self::parse(&text))
    }

    /// Whether the trace at `path` is there and whole; reads its first lines.
    pub fn is_complete(path: &Path) -> bool {
        let mut text = Vec::new();
        let file = File::open(path);
        let read = file.and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut text));
        read.is_ok() && Self::parse(&text).complete
    }

    /// The trace as text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{TITLE}\n");
        if let Some(size) = self.chunk_size {
            text.push_str(&format!("# chunk-size {size}\n"));
        }
        text.push_str(if self.complete {
            "# complete\n"
        } else {
            "# partial\n"
        });
        for line in &self.lines {
            let path = path_text::show(&line.path);
            text.push_str(&format!("{} {path}\n", line.position));
        }
        text
    }

    /// Writes the trace to `path`, replacing what is there in one step.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(parent)?;
        let mut file = tempfile::Builder::new()
            .prefix(".trace-")
            .tempfile_in(parent)?;
        file.write_all(self.to_text().as_bytes())?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Whether the trace is a better one than `old`.
    pub fn replaces(&self, old: &Self) -> bool {
        (self.complete, self.lines.len()) > (old.complete, old.lines.len())
    }

    /// The positions in chunks of `chunk_size` bytes that hold a line's chunk.
    pub fn positions(&self, line: &Line, chunk_size: u32) -> std::ops::Range<u64> {
        let (own, wanted) = (
            u64::from(self.chunk_size.unwrap_or(chunk_size)),
            u64::from(chunk_size),
        );
        let start = line.position.saturating_mul(own);
        let end = start.saturating_add(own);
        start / wanted..end.div_ceil(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(position: u64, path: &[u8]) -> Line {
        let path = path.to_vec();
        Line { position, path }
    }

    #[test]
    fn a_trace_with_odd_names_survives_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c.trace");
        let trace = Trace {
            chunk_size: Some(4096),
            complete: true,
            lines: vec![
                line(3, b"usr/bin/python3"),
                line(0, b"a b\n\xff\\ "),
                line(u64::MAX, "\u{2028} \u{7f}".as_bytes()),
            ],
            ignored: 0,
        };
        assert!(!Trace::is_complete(&path));
        trace.write(&path).unwrap();
        assert_eq!(Trace::read(&path).unwrap(), trace);
        assert!(Trace::is_complete(&path));
        let names: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn lines_that_make_no_sense_are_skipped_and_counted() {
        let text = b"# chunk-size 5000\n1 /a\nx /b\n-1 /c\n2 d\n3\n\xff\n4 /\\q\n\n 5 /e";
        let trace = Trace::parse(text);
        assert_eq!(trace.lines, [line(1, b"a"), line(5, b"e")]);
        assert_eq!(trace.ignored, 6);
        assert_eq!((trace.chunk_size, trace.complete), (None, false));
    }

    #[test]
    fn positions_follow_the_chunk_size() {
        let trace = Trace {
            chunk_size: Some(8192),
            ..Trace::default()
        };
        assert_eq!(trace.positions(&line(3, b""), 4096), 6..8);
        assert_eq!(trace.positions(&line(3, b""), 8192), 3..4);
        assert_eq!(trace.positions(&line(3, b""), 16384), 1..2);
        assert_eq!(trace.positions(&line(4, b""), 16384), 2..3);
        let unknown = Trace::default();
        assert_eq!(unknown.positions(&line(4, b""), 16384), 4..5);
    }

    #[test]
    fn a_whole_recording_replaces_a_cut_one_and_a_longer_one_a_shorter() {
        let of = |complete, lines| Trace {
            complete,
            lines: vec![line(0, b"a"); lines],
            ..Trace::default()
        };
        assert!(of(true, 1).replaces(&of(false, 9)));
        assert!(of(false, 3).replaces(&of(false, 2)));
        assert!(!of(false, 9).replaces(&of(true, 1)));
        assert!(!of(false, 2).replaces(&of(false, 2)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_trace(text: Vec<u8>) {
            let trace = Trace::parse(&text);
            let again = Trace::parse(trace.to_text().as_bytes());
            prop_assert_eq!(again.lines, trace.lines);
        }
    }
}
