//! Answers: what a server said before the bytes, and whether it fits what was
//! asked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::request::ends;
use super::{REFUSAL_BYTES, SLOWEST, body};
use crate::backend::error::At;
use crate::backend::{BackendError, BlobRange, Body};

/// The status and headers of an answer whose body is still to come.
pub struct Answer {
    pub(super) source_name: Arc<str>,
    /// The URL that was asked for; with a proxy not always the one on the wire.
    pub(super) url: Url,
    pub(super) response: reqwest::Response,
    pub(super) asked: Instant,
    pub(super) timeout: Duration,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Whether bytes follow (2xx).
    pub fn is_success(&self) -> bool {
        self.status().is_success()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Where a redirect leads, resolved against the URL that was asked for;
    /// `None` for what is no redirect.
    ///
    /// # Errors
    /// When there is no `Location` or it is no HTTP URL.
    pub fn redirect(&self) -> Option<Result<Url, BackendError>> {
        if !matches!(self.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = self.headers().get(LOCATION).map(|value| value.to_str());
        Some(match location {
            Some(Ok(location)) => match self.url.join(location) {
                Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
                _ => Err(self.bad_redirect("its Location is no HTTP URL")),
            },
            Some(Err(_)) => Err(self.bad_redirect("its Location is no HTTP URL")),
            None => Err(self.bad_redirect("it has no Location")),
        })
    }

    /// An error that says that this answer's redirect cannot be followed.
    pub fn bad_redirect(&self, reason: &'static str) -> BackendError {
        let at = self.at();
        BackendError::Redirect { at, reason }
    }

    /// Checks that the answer is the range that was asked for, and streams it.
    /// The stream ends with an error when the bytes are fewer or more, stop
    /// coming or come too slowly.
    ///
    /// # Errors
    /// When status, `Content-Range`, `Content-Length` or `Content-Encoding` do
    /// not fit, or the answer is no success.
    pub fn into_body(self, range: BlobRange<'_>) -> Result<Body, BackendError> {
        match self.status() {
            StatusCode::PARTIAL_CONTENT => self.check_range(range)?,
            StatusCode::OK => self.check_whole(range)?,
            _ => return Err(self.refusal(Vec::new()).error(None)),
        }
        let pace = u64::try_from(range.len).unwrap_or(u64::MAX) / SLOWEST;
        let limits = body::Limits {
            at: self.at(),
            wanted: range.len,
            stall: self.timeout,
            total: (2 * self.timeout).saturating_add(Duration::from_secs(pace)),
            asked: self.asked,
        };
        Ok(body::checked(self.response, limits))
    }

    /// Reads the beginning of a refusal's body.
    pub async fn into_refusal(mut self) -> Refusal {
        let mut body = Vec::new();
        let deadline = self.asked + self.timeout;
        while body.len() < REFUSAL_BYTES
            && let Ok(Ok(Some(part))) =
                tokio::time::timeout_at(deadline, self.response.chunk()).await
        {
            body.extend_from_slice(&part);
        }
        body.truncate(REFUSAL_BYTES);
        self.refusal(body)
    }

    fn refusal(self, body: Vec<u8>) -> Refusal {
        Refusal {
            at: self.at(),
            status: self.status(),
            headers: self.response.headers().clone(),
            body,
        }
    }

    fn at(&self) -> At {
        At::new(&self.source_name, &self.url)
    }

    fn text(&self, name: HeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    fn check_range(&self, range: BlobRange<'_>) -> Result<(), BackendError> {
        let (first, last) = ends(range);
        let announced = self.text(CONTENT_RANGE);
        if announced.and_then(parse_content_range) != Some((first, last)) {
            let got = match announced {
                Some(text) => printable(&format!("Content-Range {text:?}")),
                None => "no Content-Range".to_owned(),
            };
            return Err(self.wrong_range(range, &got));
        }
        self.check_length(range)
    }

    /// A whole blob is fine where a whole blob was asked for.
    fn check_whole(&self, range: BlobRange<'_>) -> Result<(), BackendError> {
        let (first, last) = ends(range);
        let whole = self.text(CONTENT_LENGTH) == Some(&range.len.to_string());
        if first == 0 && whole {
            return self.check_length(range);
        }
        let at = self.at();
        Err(BackendError::RangeIgnored { at, first, last })
    }

    fn check_length(&self, range: BlobRange<'_>) -> Result<(), BackendError> {
        if let Some(length) = self.text(CONTENT_LENGTH)
            && length.parse() != Ok(range.len)
        {
            let got = printable(&format!("Content-Length {length:?}"));
            return Err(self.wrong_range(range, &got));
        }
        match self.text(CONTENT_ENCODING) {
            None | Some("identity") => Ok(()),
            Some(encoding) => {
                let got = printable(&format!("Content-Encoding {encoding:?}"));
                Err(self.wrong_range(range, &got))
            }
        }
    }

    fn wrong_range(&self, range: BlobRange<'_>, got: &str) -> BackendError {
        let (first, last) = ends(range);
        BackendError::WrongRange {
            at: self.at(),
            got: got.into(),
            first,
            last,
        }
    }
}

/// An answer that is no success: status, headers and the first bytes of the body.
pub struct Refusal {
    pub(super) at: At,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// At most the first 16 KiB of the body. It may repeat parts of the request:
    /// take codes out of it, never print it.
    pub body: Vec<u8>,
}

impl Refusal {
    /// The code in the errors that registries answer with, such as `DENIED`:
    /// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes>
    pub fn oci_code(&self) -> Option<String> {
        let answer: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let code = answer.pointer("/errors/0/code")?.as_str()?;
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
        (code.len() <= 64 && code.bytes().all(plain)).then(|| code.to_owned())
    }

    /// The error for it, with the source's own code for the reason.
    pub fn error(self, explanation: Option<String>) -> BackendError {
        BackendError::Refused {
            retry_after: retry_after(&self.headers),
            at: self.at,
            status: self.status.as_u16(),
            explanation: explanation.map(|text| printable(&text).into()),
        }
    }
}

/// First and last byte of `bytes first-last/total`.
fn parse_content_range(text: &str) -> Option<(u64, u64)> {
    let (unit, rest) = text.trim().split_once(' ')?;
    let (ends, total) = rest.trim_start().split_once('/')?;
    let (first, last) = ends.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let fits = total.trim() == "*" || total.trim().parse::<u64>().is_ok_and(|total| last < total);
    (unit.eq_ignore_ascii_case("bytes") && fits).then_some((first, last))
}

/// `Retry-After`: seconds or a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// What a server said, in a form that fits into a line of a log.
fn printable(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.take(100).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn content_ranges_are_read_strictly() {
        let good = [
            ("bytes 0-9/10", (0, 9)),
            ("BYTES 5-5/*", (5, 5)),
            ("bytes  3-4/99", (3, 4)),
        ];
        for (text, ends) in good {
            assert_eq!(parse_content_range(text), Some(ends), "{text}");
        }
        for bad in [
            "",
            "bytes */10",
            "bytes 0-9",
            "lines 0-9/10",
            "bytes 0-9/9",
            "bytes 9/10",
        ] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let read = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]))
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        let soon = SystemTime::now() + Duration::from_secs(60);
        let left = read(&httpdate::fmt_http_date(soon)).unwrap();
        assert!((50..=60).contains(&left.as_secs()), "{left:?}");
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }
}
