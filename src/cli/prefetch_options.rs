//! The options for what is fetched ahead and what is recorded.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::attach::scope;
use crate::cli::{Failure, size};
use crate::config::PrefetchConfig;
use crate::prefetch::{Keep, PrefetchOptions, Scope};

/// Longest list of files that is read, in bytes.
const LIST_MAX: u64 = 16 << 20;

#[derive(Debug, Args)]
pub(super) struct PrefetchArguments {
    /// What is downloaded in the background: nothing, the image's prefetch
    /// table (or the list), or these and then the whole image.
    /// Default: what --config says, else table.
    #[arg(long, value_name = "off|table|all")]
    prefetch: Option<Scope>,
    /// Files to download in place of the image's prefetch table: one absolute
    /// path per line; a directory stands for all below it.
    #[arg(long, value_name = "FILE")]
    prefetch_files: Option<PathBuf>,
    /// Most bytes per second for these downloads; reads of the guest and
    /// traces are not held to it.
    #[arg(long, value_name = "SIZE/s", value_parser = size::bandwidth)]
    prefetch_bandwidth: Option<u64>,
    /// Fetch first, in order, what an earlier run read first: as recorded in
    /// the cache directory (auto) or in a file. With off, a trace that is part
    /// of the image is not streamed, either.
    #[arg(long, value_name = "auto|off|FILE", default_value = "auto")]
    replay_trace: String,
    /// Record what is read first: in the cache directory if there is no whole
    /// trace of this image (auto) or in a file.
    #[arg(long, value_name = "auto|off|FILE", default_value = "auto")]
    record_trace: String,
    /// How long is recorded, from the first read on.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    record_seconds: u64,
}

impl PrefetchArguments {
    /// The settings for an image whose chunks are kept in `cache`; what the
    /// command line leaves open is taken from `config`.
    ///
    /// # Errors
    /// When the list of files cannot be read or names something else than
    /// absolute paths.
    pub(super) fn options(
        &self,
        cache: Option<&Path>,
        config: Option<&PrefetchConfig>,
    ) -> Result<PrefetchOptions, Failure> {
        let files = self.prefetch_files.as_deref().map(read_list).transpose()?;
        Ok(PrefetchOptions {
            scope: self.prefetch.unwrap_or_else(|| scope(config)),
            files,
            bandwidth: self.prefetch_bandwidth.or_else(|| {
                let limit = config.map(|config| config.bandwidth);
                limit.filter(|&limit| limit > 0)
            }),
            replay: keep(&self.replay_trace),
            record: keep(&self.record_trace),
            record_for: Duration::from_secs(self.record_seconds),
            cache: cache.map(Path::to_owned),
            ..PrefetchOptions::default()
        })
    }
}

fn keep(text: &str) -> Keep {
    match text.parse() {
        Ok(keep) => keep,
        Err(never) => match never {},
    }
}

/// Reads a list of absolute paths, one per line; empty lines mean nothing.
pub(super) fn read_list(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    use std::io::Read as _;

    let shown = path.display();
    let fail = |error| format!("Cannot read the list of files to prefetch {shown}: {error}");
    let file = std::fs::File::open(path).map_err(fail)?;
    let mut text = Vec::new();
    file.take(LIST_MAX + 1)
        .read_to_end(&mut text)
        .map_err(fail)?;
    if text.len() as u64 > LIST_MAX {
        return Err(
            format!("The list of files to prefetch {shown} has over {LIST_MAX} bytes").into(),
        );
    }
    let mut files = Vec::new();
    for (line, number) in text.split(|&byte| byte == b'\n').zip(1..) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        if line.first() != Some(&b'/') {
            let line = std::ffi::OsStr::from_bytes(line).display();
            return Err(format!("Line {number} of {shown} is no absolute path: {line}").into());
        }
        files.push(line.to_vec());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_absolute_paths_line_by_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"/usr/bin/a b\r\n\n/\xff\n/").unwrap();
        let wanted = [&b"/usr/bin/a b"[..], b"/\xff", b"/"];
        assert_eq!(read_list(file.path()).unwrap(), wanted);
        std::fs::write(file.path(), b"/a\nb\n").unwrap();
        let error = read_list(file.path()).unwrap_err().to_string();
        assert!(
            error.contains("Line 2") && error.ends_with("path: b"),
            "{error}"
        );
    }
}
