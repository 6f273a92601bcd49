//! Bytes of blobs, with what goes wrong with them; manifests.

use std::fs;
use std::io;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use hyper::{Method, Response};
use sha2::{Digest as _, Sha256};

use super::answer::{Asked, Reply, never, note};
use super::body::{self, Step, Steps};
use super::counts::Ticket;
use super::settings::{On, What};

/// Bytes that a [`What::WrongRange`] is off.
const OFF: usize = 4096;

/// Serves a blob's bytes, or what a fault makes of them.
pub(super) async fn serve(asked: &Asked<'_>, id: &str, ticket: Ticket) -> io::Result<Reply> {
    let Ok(blob) = asked.state.blob(id) else {
        return asked.failed(404, None, ticket);
    };
    let Some(range) = parse(asked.range(), blob.len()) else {
        let length = format!("bytes */{}", blob.len());
        return asked.small(416, "", &[(CONTENT_RANGE, length)], ticket);
    };
    let is_get = asked.method == Method::GET;
    let wanted = range.clone().unwrap_or(0..blob.len());
    ticket.note(|_, entry| entry.range = Some(ends(&wanted)));
    if !is_get {
        return finish(asked, Whole::new(&blob, range), Vec::new(), ticket);
    }
    ticket.note(|counts, _| counts.blob_gets += 1);
    let what = asked.state.faults.pick(On::Blob);
    if let Some(what) = &what {
        note(&ticket, what);
    }
    let bytes = blob.slice(wanted.clone());
    let close = |reset| Step::Fail { reset };
    let (whole, steps) = match what {
        None => (Whole::new(&blob, range), vec![Step::Data(bytes)]),
        Some(What::Status {
            status,
            retry_after,
        }) => {
            return asked.failed(status, retry_after.as_deref(), ticket);
        }
        Some(What::Close) => return Err(io::Error::other("a fault that was asked for")),
        Some(What::Hang) => return Ok(hang(ticket).await),
        Some(What::Truncate) => (Whole::new(&blob, range), body::half(&bytes, close(false))),
        Some(What::Reset) => (Whole::new(&blob, range), body::half(&bytes, close(true))),
        Some(What::HangMidway) => (Whole::new(&blob, range), body::half(&bytes, Step::Hang)),
        Some(What::Drip { rate }) => (Whole::new(&blob, range), body::drip(bytes, rate)),
        Some(What::Chunked) => (
            Whole {
                length: None,
                ..Whole::new(&blob, range)
            },
            vec![Step::Data(bytes)],
        ),
        Some(What::Whole) => (Whole::new(&blob, None), vec![Step::Data(blob.clone())]),
        Some(What::Alter { bytes: count }) => {
            let altered = alter(&bytes, count, || asked.state.faults.number());
            (Whole::new(&blob, range), vec![Step::Data(altered)])
        }
        Some(What::Short) => {
            let half = wanted.start..wanted.start + wanted.len().div_ceil(2);
            (
                Whole::new(&blob, Some(half.clone())),
                vec![Step::Data(blob.slice(half))],
            )
        }
        Some(What::WrongRange) => {
            let other = shifted(&wanted, blob.len());
            (
                Whole::new(&blob, Some(other.clone())),
                vec![Step::Data(blob.slice(other))],
            )
        }
    };
    finish(asked, whole, steps, ticket)
}

async fn hang(_ticket: Ticket) -> Reply {
    never().await
}

/// What the headers say.
struct Whole {
    status: u16,
    /// `None` hides it.
    length: Option<usize>,
    range: Option<String>,
}

impl Whole {
    /// The truth about a range, or about all of it.
    fn new(blob: &Bytes, range: Option<Range<usize>>) -> Self {
        match range {
            None => Self {
                status: 200,
                length: Some(blob.len()),
                range: None,
            },
            Some(range) => {
                let (first, last) = ends(&range);
                Self {
                    status: 206,
                    length: Some(range.len()),
                    range: Some(format!("bytes {first}-{last}/{}", blob.len())),
                }
            }
        }
    }
}

fn finish(asked: &Asked<'_>, head: Whole, steps: Vec<Step>, ticket: Ticket) -> io::Result<Reply> {
    ticket.note(|_, entry| entry.status = head.status);
    let steps = Steps::new(steps, true, asked.connection, ticket);
    let mut reply = Response::builder()
        .status(head.status)
        .header(ACCEPT_RANGES, "bytes")
        .header(CONTENT_TYPE, "application/octet-stream");
    if let Some(range) = head.range {
        reply = reply.header(CONTENT_RANGE, range);
    }
    if let Some(length) = head.length {
        reply = reply.header(CONTENT_LENGTH, length);
    }
    let length = head.length.and_then(|length| u64::try_from(length).ok());
    reply.body(steps.promise(length)).map_err(io::Error::other)
}

/// A manifest by its file's name or by its digest.
pub(super) fn manifest(asked: &Asked<'_>, name: &str, ticket: Ticket) -> io::Result<Reply> {
    let found = find_manifest(asked, name);
    let Some(text) = found.and_then(|raw| String::from_utf8(raw).ok()) else {
        return asked.failed(404, None, ticket);
    };
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let kind = json["mediaType"]
        .as_str()
        .unwrap_or("application/vnd.oci.image.manifest.v1+json");
    let digest = hyper::header::HeaderName::from_static("docker-content-digest");
    let headers = [
        (CONTENT_TYPE, kind.to_owned()),
        (
            digest,
            format!("sha256:{}", hex::encode(Sha256::digest(&text))),
        ),
    ];
    asked.small(200, &text, &headers, ticket)
}

fn find_manifest(asked: &Asked<'_>, name: &str) -> Option<Vec<u8>> {
    let directory = asked.state.directory.join("manifests");
    let Some(digest) = name.strip_prefix("sha256:") else {
        return fs::read(directory.join(name)).ok();
    };
    fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| fs::read(entry.ok()?.path()).ok())
        .find(|raw| hex::encode(Sha256::digest(raw)) == digest)
}

/// Reads a `Range` header: `Some(None)` is no range, `None` cannot be met.
fn parse(header: Option<&str>, length: usize) -> Option<Option<Range<usize>>> {
    let Some((first, last)) = header
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'))
    else {
        return Some(None);
    };
    let range = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => first..last.saturating_add(1).min(length),
        (Ok(first), Err(_)) => first..length,
        (Err(_), Ok(count)) => length.saturating_sub(count)..length,
        (Err(_), Err(_)) => return Some(None),
    };
    (range.start < range.end).then_some(Some(range))
}

fn ends(range: &Range<usize>) -> (u64, u64) {
    let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    (number(range.start), number(range.end.saturating_sub(1)))
}

/// Another range of the same length, if the blob has room for one.
fn shifted(range: &Range<usize>, length: usize) -> Range<usize> {
    if range.end + OFF <= length {
        range.start + OFF..range.end + OFF
    } else {
        let by = OFF.min(range.start);
        range.start - by..range.end - by
    }
}

/// Flips one bit in each of `count` bytes.
fn alter(bytes: &Bytes, count: u32, mut number: impl FnMut() -> u64) -> Bytes {
    let mut altered = BytesMut::from(bytes.as_ref());
    let length = u64::try_from(altered.len()).unwrap_or(1).max(1);
    for _ in 0..count {
        let place = usize::try_from((number() >> 8) % length).unwrap_or(0);
        if let Some(byte) = altered.get_mut(place) {
            *byte ^= 1 << (number() >> 11 & 7);
        }
    }
    altered.freeze()
}
