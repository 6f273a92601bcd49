//! `tidegate ls`: names, attributes and digests.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::chunk::Digest;
use crate::cli::image_options::ImageOptions;
use crate::cli::{Failure, Outcome};
use crate::error_chain::chain;
use crate::fs::walk::{self, Step, WalkError};
use crate::image::{Content, FileType, Image, Node};
use crate::store::Store;

/// List an image's tree, or a part of it, without mounting it.
///
/// With --digests it is a bill of materials: the SHA-256 of every file's content,
/// for which the data is read and proved, and the node digest of every name,
/// which covers attributes too.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: ImageOptions,
    /// Show mode, links, owner, size and time.
    #[arg(long, short)]
    long: bool,
    /// Show the SHA-256 of each file's content and each name's node digest; `-`
    /// for what has none.
    #[arg(long)]
    digests: bool,
    /// Print one JSON object per name.
    #[arg(long, conflicts_with = "long")]
    json: bool,
    /// Only this path and what is below it.
    path: Option<std::ffi::OsString>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let image = arguments.image.open_image()?;
    let mut contents = Contents::default();
    if arguments.digests {
        contents.store = Some(arguments.image.open_store(&image)?);
    }
    let wanted = arguments
        .path
        .as_deref()
        .unwrap_or_default()
        .as_encoded_bytes()
        .to_vec();
    let wanted: Vec<&[u8]> = wanted
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
        .collect();
    let wanted = wanted.join(&b'/');
    walk::find(&image, &wanted)?;
    let below = [&wanted[..], b"/"].concat();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let (mut outcome, mut failed) = (Outcome::Done, None);
    walk::walk(&image, &mut |step| {
        let found = match step {
            Step::Node(path, node) if is_in(path, &wanted, &below) => contents
                .of(&image, node)
                .map_err(|error| (path, error))
                .map(|sha256| Some((path, node, sha256))),
            Step::Node(..) => Ok(None),
            Step::Fault(path, error) => Err((path, error)),
        };
        let written = match found {
            Ok(Some((path, node, sha256))) => print(&mut out, arguments, path, node, sha256),
            Ok(None) => Ok(()),
            Err((path, error)) => {
                outcome = Outcome::Faults;
                eprintln!("{}: {}", walk::show(path), chain(&error));
                Ok(())
            }
        };
        failed = written.err();
        failed.is_none()
    });
    match failed {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Some(_) => Ok(outcome),
        None => {
            out.flush()?;
            Ok(outcome)
        }
    }
}

fn is_in(path: &[u8], wanted: &[u8], below: &[u8]) -> bool {
    wanted.is_empty() || path == wanted || path.starts_with(below)
}

/// Digests of what files hold.
#[derive(Default)]
struct Contents {
    /// Where the data is; none if no digests are wanted.
    store: Option<Arc<Store>>,
    /// What was read under another name already.
    linked: HashMap<u64, Digest>,
}

impl Contents {
    /// The SHA-256 of a file's bytes; none for what is no file.
    fn of(&mut self, image: &Image, node: &Node) -> Result<Option<Digest>, WalkError> {
        let (Some(store), Content::File(_)) = (&self.store, &node.content) else {
            return Ok(None);
        };
        if let Some(known) = self.linked.get(&node.nid) {
            return Ok(Some(*known));
        }
        let mut hasher = Sha256::new();
        walk::read_file(image, store, node, &mut |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        let digest = Digest(hasher.finalize().into());
        if node.attr.nlink > 1 {
            self.linked.insert(node.nid, digest);
        }
        Ok(Some(digest))
    }
}

/// A name as JSON.
#[derive(Serialize)]
struct Line {
    path: String,
    r#type: &'static str,
    mode: String,
    nlink: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    mtime_ns: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rdev: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
}

impl Line {
    fn new(path: &[u8], node: &Node, sha256: Option<Digest>) -> Self {
        let attr = &node.attr;
        let is_device = matches!(attr.file_type, FileType::CharDevice | FileType::BlockDevice);
        Self {
            path: walk::show(path),
            r#type: match attr.file_type {
                FileType::Fifo => "fifo",
                FileType::CharDevice => "char-device",
                FileType::Directory => "directory",
                FileType::BlockDevice => "block-device",
                FileType::Regular => "file",
                FileType::Symlink => "symlink",
                FileType::Socket => "socket",
            },
            mode: format!("{:04o}", attr.mode),
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            size: attr.size,
            mtime: attr.mtime,
            mtime_ns: attr.mtime_ns,
            target: match &node.content {
                Content::Symlink(target) => Some(walk::show_relative(target)),
                _ => None,
            },
            rdev: is_device.then_some(attr.rdev),
            sha256: sha256.map(|digest| digest.to_string()),
            node: None,
        }
    }
}

fn print(
    out: &mut impl Write,
    arguments: &Arguments,
    path: &[u8],
    node: &Node,
    sha256: Option<Digest>,
) -> io::Result<()> {
    if arguments.json {
        let mut line = Line::new(path, node, sha256);
        if arguments.digests {
            line.node = node.digest.map(|digest| digest.to_string());
        }
        serde_json::to_writer(&mut *out, &line)?;
        return out.write_all(b"\n");
    }
    if arguments.digests {
        for digest in [sha256, node.digest] {
            match digest {
                Some(digest) => write!(out, "{digest} ")?,
                None => write!(out, "{:64} ", "-")?,
            }
        }
    }
    let attr = &node.attr;
    if arguments.long {
        let letter = match attr.file_type {
            FileType::Fifo => 'p',
            FileType::CharDevice => 'c',
            FileType::Directory => 'd',
            FileType::BlockDevice => 'b',
            FileType::Regular => '-',
            FileType::Symlink => 'l',
            FileType::Socket => 's',
        };
        write!(
            out,
            "{letter}{:04o} {:>3} {:>5} {:>5} {:>11} {} ",
            attr.mode,
            attr.nlink,
            attr.uid,
            attr.gid,
            attr.size,
            show_time(attr.mtime, attr.mtime_ns),
        )?;
    }
    write!(out, "{}", walk::show(path))?;
    if let (true, Content::Symlink(target)) = (arguments.long, &node.content) {
        write!(out, " -> {}", walk::show_relative(target))?;
    }
    out.write_all(b"\n")
}

/// A time as RFC 3339, or in seconds where the calendar of that ends.
fn show_time(seconds: i64, nanos: u32) -> String {
    /// The last second of the year 9999.
    const LAST: u64 = 253_402_300_799;
    match u64::try_from(seconds) {
        Ok(past) if past <= LAST => {
            let time = std::time::UNIX_EPOCH + std::time::Duration::new(past, nanos);
            humantime::format_rfc3339_nanos(time).to_string()
        }
        _ => format!("@{seconds}+{nanos:09}ns"),
    }
}
