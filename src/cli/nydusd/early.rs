//! The path of the API's socket, before the command line is parsed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// The last `--apisock PATH`, `--apisock=PATH`, `-A PATH` or `-APATH` of a
/// command line. The parser has the last word.
pub(super) fn api_socket(line: &[OsString]) -> Option<PathBuf> {
    let mut found = None;
    let mut words = line.iter().skip(1);
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"--apisock" || bytes == b"-A" {
            found = words.next().cloned();
            continue;
        }
        let joined = bytes
            .strip_prefix(b"--apisock=")
            .or_else(|| bytes.strip_prefix(b"-A="))
            .or_else(|| bytes.strip_prefix(b"-A"));
        if let Some(path) = joined {
            found = Some(OsString::from_vec(path.to_vec()));
        }
    }
    let path = found.filter(|path| path.as_os_str() != OsStr::new(""));
    path.map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_path_counts_in_every_form() {
        for (line, wanted) in [
            ("nydusd virtiofs --apisock /a --sock /s", Some("/a")),
            ("nydusd --apisock=/a virtiofs --apisock /b", Some("/b")),
            ("nydusd -A /a", Some("/a")),
            ("nydusd -A/a", Some("/a")),
            ("nydusd virtiofs --sock /s", None),
            ("nydusd --apisock", None),
        ] {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            assert_eq!(api_socket(&words), wanted.map(PathBuf::from), "{line}");
        }
    }
}
