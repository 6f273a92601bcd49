//! `tidegate ls`: names and attributes.

use std::io::{self, Write};
use std::sync::Arc;

use clap::Args;

use crate::cli::image_options::ImageOptions;
use crate::cli::{Failure, Outcome, chain};
use crate::fs::walk::{self, Step};
use crate::image::{Content, FileType, Node};

/// List an image's tree, or a part of it, without mounting it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: ImageOptions,
    /// Show mode, links, owner, size and time.
    #[arg(long, short)]
    long: bool,
    /// Only this path and what is below it.
    path: Option<std::ffi::OsString>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let image = arguments.image.open_image()?;
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
        let written = match step {
            Step::Node(path, node) if is_in(path, &wanted, &below) => {
                print(&mut out, path, node, arguments.long)
            }
            Step::Node(..) => Ok(()),
            Step::Fault(path, error) => {
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

fn print(out: &mut impl Write, path: &[u8], node: &Arc<Node>, long: bool) -> io::Result<()> {
    let attr = &node.attr;
    if long {
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
    if let (true, Content::Symlink(target)) = (long, &node.content) {
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
