//! A request for a range.

use std::fmt;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, RANGE};
use http::{HeaderMap, HeaderValue};
use url::Url;

use super::url::SafeUrl;
use crate::backend::BlobRange;

/// A GET for a range of a blob, which a source completes with its own headers
/// or signature. Prints no values of headers and no query.
#[derive(Clone)]
pub struct Request {
    /// What to ask for.
    pub url: Url,
    /// Headers; `Range` is among them from the start, since some signatures
    /// cover it.
    pub headers: HeaderMap,
    /// Whether a redirect led to a server that is not the source's own: extra
    /// headers that may hold credentials are not sent there.
    pub foreign: bool,
}

impl Request {
    /// A GET of `url` for `range`, without authorisation.
    pub fn get(url: Url, range: BlobRange<'_>) -> Self {
        let (first, last) = ends(range);
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::try_from(format!("bytes={first}-{last}")) {
            headers.insert(RANGE, value);
        }
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Self {
            url,
            headers,
            foreign: false,
        }
    }

    /// Sets `Authorization`, or removes it.
    pub fn authorize(&mut self, value: Option<HeaderValue>) {
        match value {
            Some(mut value) => {
                value.set_sensitive(true);
                self.headers.insert(AUTHORIZATION, value);
            }
            None => {
                self.headers.remove(AUTHORIZATION);
            }
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("url", &SafeUrl::from(&self.url))
            .field("headers", &self.headers.keys())
            .finish()
    }
}

/// First and last byte of a range, as HTTP counts.
pub(super) fn ends(range: BlobRange<'_>) -> (u64, u64) {
    let len = u64::try_from(range.len).unwrap_or(u64::MAX);
    let last = range.offset.saturating_add(len.saturating_sub(1));
    (range.offset, last)
}
