//! Buckets of object stores: where their objects are, and the codes in the
//! refusals of their servers. For `s3` and `oss`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{Host, Url};

use super::http::Refusal;
use super::http::url::SafeUrl;
use super::{BackendError, BlobRange};

/// What is percent-encoded in an object's name, as both services' signatures
/// want it: all but the unreserved characters of RFC 3986 and `/`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Where the bucket stands in a URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// `https://endpoint/bucket/object`: for test servers and addresses, and
    /// known to every S3 server.
    Path,
    /// `https://bucket.endpoint/object`: all that OSS itself accepts.
    VirtualHost,
}

/// A bucket at a service.
#[derive(Debug)]
pub(super) struct Bucket {
    /// For messages.
    pub(super) name: String,
    /// URL of what all objects' names begin with.
    base: Url,
}

impl Bucket {
    pub(super) fn new(
        endpoint: &Url,
        bucket: &str,
        prefix: &str,
        style: Style,
    ) -> Result<Self, BackendError> {
        let name = format!("bucket {bucket} at {}", SafeUrl::from(endpoint));
        let failed = |reason: &str| BackendError::Setup {
            source_name: name.as_str().into(),
            reason: reason.into(),
        };
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(failed("`endpoint` is no http or https URL"));
        }
        let mut base = endpoint.clone();
        base.set_query(None);
        base.set_fragment(None);
        let folder = endpoint.path().trim_end_matches('/').to_owned();
        let prefix = utf8_percent_encode(prefix, ENCODED);
        match style {
            Style::Path => {
                let bucket = utf8_percent_encode(bucket, ENCODED);
                base.set_path(&format!("{folder}/{bucket}/{prefix}"));
            }
            Style::VirtualHost => {
                let Some(Host::Domain(host)) = endpoint.host() else {
                    return Err(failed(
                        "an address has no names below it: set `style` to `path`",
                    ));
                };
                let host = format!("{bucket}.{host}");
                if base.set_host(Some(&host)).is_err() {
                    return Err(failed("the bucket's name cannot be part of a host name"));
                }
                base.set_path(&format!("{folder}/{prefix}"));
            }
        }
        Ok(Self { name, base })
    }

    /// The URL of a blob's object.
    pub(super) fn object(&self, range: BlobRange<'_>) -> Result<Url, BackendError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", url.path(), range.checked_id()?));
        Ok(url)
    }

    /// An error for keys that cannot sign.
    pub(super) fn cannot_sign(&self) -> BackendError {
        BackendError::Credentials {
            source_name: self.name.as_str().into(),
            reason: "requests cannot be signed with these keys: check access_key_id, \
                     access_key_secret and the token"
                .into(),
            passing: false,
        }
    }
}

/// The service's code for a refusal, such as `AccessDenied`: both send
/// `<Error><Code>…</Code>…</Error>`.
pub(super) fn code(refusal: &Refusal) -> Option<String> {
    code_in(&String::from_utf8_lossy(&refusal.body))
}

fn code_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
    (code.len() <= 64 && code.bytes().all(plain)).then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Class;

    fn bucket(endpoint: &str, prefix: &str, style: Style) -> Result<Bucket, BackendError> {
        Bucket::new(&Url::parse(endpoint).unwrap(), "b", prefix, style)
    }

    fn url(endpoint: &str, prefix: &str, style: Style) -> String {
        let id = "a".repeat(64);
        let range = BlobRange {
            id: &id,
            offset: 0,
            len: 1,
            class: Class::Demand,
        };
        let url = bucket(endpoint, prefix, style).unwrap().object(range);
        url.unwrap().as_str().replace(&id, "ID")
    }

    #[test]
    fn the_bucket_stands_in_the_path_or_before_the_host() {
        assert_eq!(
            url("https://s3.example:9000", "", Style::Path),
            "https://s3.example:9000/b/ID"
        );
        assert_eq!(
            url("https://s3.example", "a b/+", Style::VirtualHost),
            "https://b.s3.example/a%20b/%2BID"
        );
        assert_eq!(
            url("http://[::1]/store/", "p/", Style::Path),
            "http://[::1]/store/b/p/ID"
        );
    }

    #[test]
    fn an_address_cannot_have_a_bucket_before_it() {
        for endpoint in ["http://127.0.0.1:9000", "http://[::1]"] {
            let error = bucket(endpoint, "", Style::VirtualHost).unwrap_err();
            assert!(error.to_string().contains("path"), "{error}");
        }
    }

    #[test]
    fn only_the_code_of_a_refusal_is_shown() {
        let body = "<Error><Code>AccessDenied</Code><Message>key AKID</Message></Error>";
        assert_eq!(code_in(body).as_deref(), Some("AccessDenied"));
        for body in ["", "<Code>", "<Code>a b</Code>", "<Code>\u{e9}</Code>"] {
            assert_eq!(code_in(body), None);
        }
    }
}
