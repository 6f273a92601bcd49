//! What a served tree looks like, in the words of `manifest.py --full`: one
//! line of JSON for each path, sorted by path bytes.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::process::Command;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::session::wire::{Attributes, ROOT};
use super::session::{Answer, Session};

const READ: usize = 1 << 20;

/// Walks the tree from the root and writes every path down.
///
/// # Errors
/// The daemon's first one.
pub fn of_session(session: &mut Session) -> Answer<Vec<String>> {
    let mut lines: Vec<(Vec<u8>, String)> = Vec::new();
    let root = session.attributes(ROOT)?;
    let mut open = vec![(b"/".to_vec(), ROOT, root)];
    while let Some((path, node, attributes)) = open.pop() {
        let line = describe(session, &path, node, &attributes)?;
        if kind(&attributes) == libc::S_IFDIR {
            let prefix = if path == b"/" {
                Vec::new()
            } else {
                path.clone()
            };
            for child in session.list(node, false)? {
                let entry = session.lookup(node, &child.name)?;
                let path = [&prefix[..], b"/", &child.name[..]].concat();
                open.push((path, entry.node, entry.attributes));
            }
        }
        lines.push((path, line));
    }
    lines.sort();
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// The manifest of a directory on this machine, by `manifest.py --full`.
///
/// # Errors
/// When the script fails.
pub fn of_directory(root: &Path) -> io::Result<Vec<String>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/manifest.py");
    let output = Command::new("python3")
        .arg(script)
        .arg("--full")
        .arg(root)
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    let text = String::from_utf8(output.stdout).map_err(io::Error::other)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The first few lines in which two manifests differ; `None` when they are
/// equal.
pub fn difference(expected: &[String], found: &[String]) -> Option<String> {
    const SHOWN: usize = 8;
    if expected == found {
        return None;
    }
    let lines = differing_lines(expected, found);
    let rest = lines.len().saturating_sub(SHOWN);
    let mut text = lines.into_iter().take(SHOWN).collect::<Vec<_>>().join("\n");
    if rest > 0 {
        text.push_str(&format!("\nand {rest} more"));
    }
    Some(format!(
        "{} lines expected, {} found\n{text}",
        expected.len(),
        found.len()
    ))
}

fn differing_lines(expected: &[String], found: &[String]) -> Vec<String> {
    let wanted: HashSet<&String> = expected.iter().collect();
    let seen: HashSet<&String> = found.iter().collect();
    let missing = expected
        .iter()
        .filter(|l| !seen.contains(l))
        .map(|l| format!("- {l}"));
    let surplus = found
        .iter()
        .filter(|l| !wanted.contains(l))
        .map(|l| format!("+ {l}"));
    let lines: Vec<String> = missing.chain(surplus).collect();
    if lines.is_empty() {
        vec!["the lines are the same, their order is not".into()]
    } else {
        lines
    }
}

/// Fails with the first differences between a directory and what is served.
///
/// # Panics
/// When they differ, or one of them cannot be read.
pub fn assert_same(source: &Path, session: &mut Session) {
    let expected = of_directory(source).expect("the source can be read");
    let found = of_session(session).expect("the served tree can be read");
    if let Some(text) = difference(&expected, &found) {
        panic!("{} is not what is served: {text}", source.display());
    }
}

fn kind(attributes: &Attributes) -> u32 {
    attributes.mode & libc::S_IFMT
}

fn describe(session: &mut Session, path: &[u8], node: u64, a: &Attributes) -> Answer<String> {
    let mut entry = Map::new();
    entry.insert("path".into(), text(path).into());
    entry.insert("mode".into(), format!("0o{:o}", a.mode).into());
    entry.insert("uid".into(), a.uid.into());
    entry.insert("gid".into(), a.gid.into());
    let mtime = i128::from(a.mtime) * 1_000_000_000 + i128::from(a.mtime_ns);
    entry.insert(
        "mtime".into(),
        json!(i64::try_from(mtime).unwrap_or(i64::MAX)),
    );
    entry.insert("nlink".into(), a.links.into());
    match kind(a) {
        libc::S_IFREG => {
            entry.insert("sha256".into(), contents(session, node, a.size)?.into());
            entry.insert("size".into(), a.size.into());
        }
        libc::S_IFLNK => {
            entry.insert("target".into(), text(&session.readlink(node)?).into());
            entry.insert("size".into(), a.size.into());
        }
        libc::S_IFCHR | libc::S_IFBLK => {
            let (major, minor) = (
                (a.device >> 8) & 0xfff,
                (a.device & 0xff) | ((a.device >> 12) & 0xfff00),
            );
            entry.insert("rdev".into(), json!([major, minor]));
        }
        _ => {}
    }
    let found = xattrs(session, node)?;
    if !found.is_empty() {
        entry.insert("xattrs".into(), Value::Object(found));
    }
    Ok(line(&Value::Object(entry)))
}

/// SHA-256 of what the daemon gives for the file, read until it gives no more.
fn contents(session: &mut Session, node: u64, size: u64) -> Answer<String> {
    if size == 0 {
        return Ok(hex::encode(Sha256::digest([])));
    }
    let handle = session.open(node)?;
    let (mut hash, mut offset) = (Sha256::new(), 0);
    loop {
        let part = session.read(node, handle, offset, READ)?;
        if part.is_empty() {
            break;
        }
        offset += u64::try_from(part.len()).unwrap_or(u64::MAX);
        hash.update(&part);
    }
    session.release(node, handle)?;
    Ok(hex::encode(hash.finalize()))
}

fn xattrs(session: &mut Session, node: u64) -> Answer<Map<String, Value>> {
    let names = match session.listxattr(node) {
        Ok(names) => names,
        // As where the file system has none.
        Err(failure) if failure.errno().is_some() => return Ok(Map::new()),
        Err(failure) => return Err(failure),
    };
    let mut found = Map::new();
    for name in names {
        let value = session.getxattr(node, &name)?;
        found.insert(
            String::from_utf8_lossy(&name).into_owned(),
            hex::encode(value).into(),
        );
    }
    Ok(found)
}

/// Printable ASCII as it is, every other byte and the backslash as `\xNN`.
fn text(raw: &[u8]) -> String {
    raw.iter()
        .map(|&byte| match byte {
            b'\\' | 0..32 | 127.. => format!("\\x{byte:02x}"),
            _ => char::from(byte).to_string(),
        })
        .collect()
}

/// JSON with a blank behind each comma and colon.
fn line(value: &Value) -> String {
    let mut raw = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut raw, Spaced(CompactFormatter));
    value
        .serialize(&mut serializer)
        .expect("a value of strings and numbers");
    String::from_utf8(raw).expect("JSON is text")
}

struct Spaced(CompactFormatter);

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}
