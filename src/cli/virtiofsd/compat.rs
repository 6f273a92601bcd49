//! The older form of options, `-o name,name=value`, as words of today's form.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// What an option is today; several that ask for nothing are empty.
const FLAGS: &[(&str, &str)] = &[
    ("allow_direct_io", "--allow-direct-io"),
    ("allow_mmap", "--allow-mmap"),
    ("announce_submounts", "--announce-submounts"),
    ("debug", "--log-level=debug"),
    ("killpriv_v2", "--killpriv-v2"),
    ("no_allow_direct_io", "--no-allow-direct-io"),
    ("no_announce_submounts", "--no-announce-submounts"),
    ("no_flock", ""),
    ("no_killpriv_v2", "--no-killpriv-v2"),
    ("no_posix_acl", "--posix-acl=never"),
    ("no_posix_lock", ""),
    ("no_readdirplus", "--no-readdirplus"),
    ("no_security_label", "--security-label=never"),
    ("no_writeback", "--no-writeback"),
    ("no_xattr", "--no-xattr"),
    ("posix_acl", "--posix-acl=always"),
    ("readdirplus", "--readdirplus"),
    ("readonly", "--readonly"),
    ("security_label", "--security-label=always"),
    ("writeback", "--writeback"),
    ("xattr", "--xattr"),
];

/// The same with values.
const VALUES: &[(&str, &str)] = &[
    ("cache", "--cache"),
    ("log_level", "--log-level"),
    ("modcaps", "--modcaps"),
    ("sandbox", "--sandbox"),
    ("source", "--shared-dir"),
    ("xattrmap", "--xattrmap"),
];

/// Replaces every `-o LIST` and `-oLIST` of a command line.
///
/// # Errors
/// A text for the user when an option is not known.
pub(super) fn translate(line: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let mut words = line.into_iter();
    let mut translated: Vec<OsString> = words.next().into_iter().collect();
    while let Some(word) = words.next() {
        let list = match word.as_bytes() {
            b"-o" => words.next().ok_or("-o needs a list of options")?,
            bytes if bytes.starts_with(b"-o") => {
                let list = bytes.strip_prefix(b"-o").unwrap_or_default();
                OsString::from_vec(list.to_vec())
            }
            _ => {
                translated.push(word);
                continue;
            }
        };
        for option in split(list.as_bytes()) {
            translated.extend(one(&option)?);
        }
    }
    Ok(translated)
}

/// The parts between commas; a doubled comma stands for one that belongs to a part.
fn split(list: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = list.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let ends = byte == b',' && bytes.next_if_eq(&b',').is_none();
        match parts.last_mut() {
            Some(part) if !ends => part.push(byte),
            _ => parts.push(Vec::new()),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn one(option: &[u8]) -> Result<Option<OsString>, String> {
    let shown = String::from_utf8_lossy(option);
    let unknown = || format!("-o {shown}: virtiofsd has no such option; see --help");
    let Some(at) = option.iter().position(|byte| *byte == b'=') else {
        if matches!(option, b"flock" | b"posix_lock") {
            return Err(format!(
                "-o {shown}: locks are the guest's own; leave it out"
            ));
        }
        let found = FLAGS.iter().find(|(name, _)| name.as_bytes() == option);
        let (_, word) = found.ok_or_else(unknown)?;
        return Ok((!word.is_empty()).then(|| OsString::from(word)));
    };
    let (name, value) = option.split_at(at);
    let found = VALUES.iter().find(|(known, _)| known.as_bytes() == name);
    let (_, word) = found.ok_or_else(unknown)?;
    let value = match (name, value.get(1..).unwrap_or_default()) {
        (b"cache", b"none") => b"never",
        (b"log_level", b"err") => b"error",
        (_, value) => value,
    };
    let mut translated = OsString::from(format!("{word}="));
    translated.push(OsStr::from_bytes(value));
    Ok(Some(translated))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<String, String> {
        let words = text.split(' ').map(OsString::from).collect();
        let translated = translate(words)?.into_iter();
        let translated = translated.map(|word| word.into_string().unwrap());
        Ok(translated.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn old_options_become_new_ones_where_they_stand() {
        for (old, new) in [
            ("v -o announce_submounts", "v --announce-submounts"),
            (
                "v -o source=/a,,b,cache=none,no_flock,xattr --fd=3",
                "v --shared-dir=/a,b --cache=never --xattr --fd=3",
            ),
            (
                "v -oposix_acl --cache auto",
                "v --posix-acl=always --cache auto",
            ),
            (
                "v --shared-dir /o -o log_level=err",
                "v --shared-dir /o --log-level=error",
            ),
            ("v", "v"),
        ] {
            assert_eq!(line(old).unwrap(), new, "{old}");
        }
        for (wrong, said) in [
            ("v -o bogus", "bogus"),
            ("v -o xattr,bogus=1", "bogus=1"),
            ("v -o flock", "locks"),
            ("v -o", "needs"),
        ] {
            assert!(line(wrong).unwrap_err().contains(said), "{wrong}");
        }
    }
}
