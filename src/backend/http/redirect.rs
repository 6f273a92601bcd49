//! Redirects: followed hop by hop, and remembered per blob.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use url::Url;

use super::url::same_origin;
use super::{Answer, Client, Request};
use crate::backend::{BackendError, BlobRange, Body};

/// Most redirects of one request.
const HOPS: usize = 10;

/// Blobs whose redirects are remembered; past it all are forgotten.
const KNOWN: usize = 1024;

/// How long before the end of its time a signed URL is no longer used.
const MARGIN: Duration = Duration::from_secs(10);

/// Follows redirects of one request.
pub struct Follow<'a> {
    /// The client to ask with.
    pub client: &'a Client,
    /// What is asked for.
    pub range: BlobRange<'a>,
    /// The source's own server.
    pub home: &'a Url,
    /// Sent to the source's own server only.
    pub authorization: Option<HeaderValue>,
    /// Changes the URL of each redirect before it is followed.
    pub rewrite: &'a (dyn Fn(&mut Url) + Send + Sync),
}

impl Follow<'_> {
    /// Asks for the range at `url`, and wherever that leads. Returns the first
    /// answer that is no redirect, and its URL.
    ///
    /// # Errors
    /// When no answer comes, a redirect leads nowhere, or there are more than 10.
    pub async fn ask(&self, mut url: Url) -> Result<(Answer, Url), BackendError> {
        for _ in 0..=HOPS {
            let mut request = Request::get(url.clone(), self.range);
            request.foreign = !same_origin(&url, self.home);
            if !request.foreign {
                request.authorize(self.authorization.clone());
            }
            let answer = self.client.ask(request, self.range).await?;
            match answer.redirect() {
                None => return Ok((answer, url)),
                Some(next) => url = next?,
            }
            (self.rewrite)(&mut url);
        }
        Err(BackendError::Redirect {
            at: self.client.at(&url),
            reason: "there are more than 10 in a row",
        })
    }

    /// Asks where the redirects of the blob ended the last time. `None` when
    /// that is not known or no longer good: then the source is to be asked.
    pub async fn ask_known(
        &self,
        redirects: &Redirects,
        id: &str,
    ) -> Option<Result<Body, BackendError>> {
        let known = redirects.get(id)?;
        let answer = self.ask(known.clone()).await;
        if let Ok((answer, _)) = &answer
            && is_stale(answer.status())
        {
            redirects.forget(id, &known);
            return None;
        }
        let body = answer.and_then(|(answer, _)| answer.into_body(self.range));
        if body.is_err() {
            redirects.forget(id, &known);
        }
        Some(body)
    }

    /// Takes an answer as the body, and remembers where it came from, unless
    /// that is the source itself.
    ///
    /// # Errors
    /// When the answer is none to the range.
    pub async fn settle(
        &self,
        redirects: &Redirects,
        id: &str,
        (answer, url): (Answer, Url),
    ) -> Result<Body, BackendError> {
        if !answer.is_success() {
            let refusal = answer.into_refusal().await;
            let code = refusal.oci_code();
            return Err(refusal.error(code));
        }
        let body = answer.into_body(self.range)?;
        if !same_origin(&url, self.home) {
            redirects.learn(id, url);
        }
        Ok(body)
    }
}

/// Whether a URL that was good before was signed for a time that is over, or
/// leads to where the blob no longer is. S3 says 400 of an expired token.
fn is_stale(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410)
}

/// Where the redirects of blobs ended, until that expires.
#[derive(Default)]
pub struct Redirects(Mutex<HashMap<String, Known>>);

struct Known {
    url: Url,
    until: Option<SystemTime>,
}

impl Redirects {
    /// The URL that the redirects of a blob ended at the last time, if it is
    /// still good.
    pub fn get(&self, id: &str) -> Option<Url> {
        let mut known = self.0.lock();
        let found = known.get(id)?;
        if found.until.is_none_or(|until| SystemTime::now() < until) {
            return Some(found.url.clone());
        }
        known.remove(id);
        None
    }

    /// Keeps where the redirects of a blob ended.
    pub fn learn(&self, id: &str, url: Url) {
        let until = expiry(&url).and_then(|expiry| expiry.checked_sub(MARGIN));
        let mut known = self.0.lock();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(id.to_owned(), Known { url, until });
    }

    /// Forgets a URL that is no longer good.
    pub fn forget(&self, id: &str, url: &Url) {
        let mut known = self.0.lock();
        if known.get(id).is_some_and(|found| found.url == *url) {
            known.remove(id);
        }
    }
}

/// When a signed URL expires, as its query tells: `X-Amz-Date` and
/// `X-Amz-Expires` (S3), the same with `X-Goog-` (GCS) and `x-oss-` (OSS),
/// `Expires` in seconds since 1970 (S3, OSS, CloudFront), `se` (Azure).
fn expiry(url: &Url) -> Option<SystemTime> {
    let query: HashMap<String, String> = url
        .query_pairs()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned()))
        .collect();
    for maker in ["x-amz", "x-goog", "x-oss"] {
        let signed = query.get(&format!("{maker}-date"));
        let valid = query.get(&format!("{maker}-expires"));
        if let (Some(signed), Some(valid)) = (signed, valid) {
            return basic_time(signed)?.checked_add(Duration::from_secs(valid.parse().ok()?));
        }
    }
    if let Some(seconds) = query.get("expires") {
        let seconds = Duration::from_secs(seconds.parse().ok()?);
        return SystemTime::UNIX_EPOCH.checked_add(seconds);
    }
    humantime::parse_rfc3339(query.get("se")?).ok()
}

/// `20130524T000000Z`.
fn basic_time(text: &str) -> Option<SystemTime> {
    let at = |from: usize, to: usize| text.get(from..to);
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        at(0, 4)?,
        at(4, 6)?,
        at(6, 8)?,
        at(9, 11)?,
        at(11, 13)?,
        at(13, 15)?
    );
    humantime::parse_rfc3339(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(url: &str) -> Option<u64> {
        let expiry = expiry(&Url::parse(url).unwrap())?;
        Some(
            expiry
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs(),
        )
    }

    #[test]
    fn signed_urls_tell_when_they_expire() {
        let day = 1_369_353_600;
        let amz = "https://h/b?X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-Signature=s";
        assert_eq!(seconds(amz), Some(day + 86_400));
        let goog = "https://h/b?X-Goog-Date=20130524T000100Z&X-Goog-Expires=60";
        assert_eq!(seconds(goog), Some(day + 120));
        assert_eq!(seconds("https://h/b?Expires=1369353600"), Some(day));
        assert_eq!(
            seconds("https://h/b?se=2013-05-24T00%3A00%3A00Z&sig=s"),
            Some(day)
        );
        for unsigned in [
            "https://h/b",
            "https://h/b?X-Amz-Expires=60",
            "https://h/b?Expires=soon",
        ] {
            assert_eq!(seconds(unsigned), None, "{unsigned}");
        }
    }

    #[test]
    fn an_expired_redirect_is_not_used() {
        let redirects = Redirects::default();
        let url = |text| Url::parse(text).unwrap();
        redirects.learn("a", url("https://h/a"));
        redirects.learn("b", url("https://h/b?Expires=1369353600"));
        assert_eq!(redirects.get("a"), Some(url("https://h/a")));
        assert_eq!(redirects.get("b"), None);
        redirects.forget("a", &url("https://h/other"));
        assert!(redirects.get("a").is_some());
        redirects.forget("a", &url("https://h/a"));
        assert_eq!(redirects.get("a"), None);
    }
}
