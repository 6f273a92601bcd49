//! Blobs as objects of an S3 bucket: `<object prefix><blob id>`.
//!
//! Requests are ordinary ranged GETs of the HTTP layer, signed (SigV4) by the
//! crate reqsign-aws-v4. OpenDAL and object_store would give a client of S3 as
//! a whole, but each has its own idea of what an answer to a range may be: a
//! server that ignores `Range`, another `Content-Range` or a cut body would be
//! judged differently by each source. Here one place checks status,
//! `Content-Range` and length for all sources, with one set of time limits.
//!
//! Of the headers only `Host` and those that the signature itself needs are
//! signed: proxies and peers on the way may ask for other ranges than we do and
//! may change `Accept-Encoding`. What comes is proved anyway.

use futures_util::future::BoxFuture;
use http::request::Parts;
use reqsign_aws_v4::RequestSigner;
use reqsign_core::{Context, SignRequest as _};
use url::Url;
use zeroize::Zeroize as _;

use super::bucket::{Bucket, code};
use super::http::{Ranged, Reaction, Refusal, Request, Target, Transport};
use super::secret::Secret;
use super::{BackendError, BlobRange};

pub use super::bucket::Style;

/// Where the bucket is and who asks.
#[derive(Clone, Debug)]
pub struct Options {
    /// The service: scheme, host and port, without the bucket.
    pub endpoint: Url,
    /// Region that signatures name, such as `us-east-1`.
    pub region: String,
    /// Name of the bucket.
    pub bucket_name: String,
    /// What stands before the blob id in an object's name; may be empty, and
    /// ends with `/` where blobs lie in a folder.
    pub object_prefix: String,
    /// Keys to sign with; without them requests are anonymous.
    pub credentials: Option<Credentials>,
    /// Where the bucket stands in a URL.
    pub style: Style,
    /// How requests travel.
    pub transport: Transport,
}

/// Keys of an S3 account.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Identifies the keys. It is sent as it is, but shown nowhere.
    pub access_key_id: Secret,
    /// Signs.
    pub access_key_secret: Secret,
    /// Belongs to temporary keys.
    pub session_token: Option<Secret>,
}

/// A bucket as a backend.
pub type S3 = Ranged<S3Bucket>;

/// What is special about S3.
#[derive(Debug)]
pub struct S3Bucket {
    bucket: Bucket,
    credentials: Option<Credentials>,
    signer: RequestSigner,
}

/// A backend over a bucket.
///
/// # Errors
/// When the options make no URL or the client cannot be set up.
pub fn open(options: &Options) -> Result<S3, BackendError> {
    let bucket = Bucket::new(
        &options.endpoint,
        &options.bucket_name,
        &options.object_prefix,
        options.style,
    )?;
    let target = S3Bucket {
        bucket,
        credentials: options.credentials.clone(),
        signer: RequestSigner::new("s3", &options.region),
    };
    Ranged::new(target, &options.transport)
}

impl S3Bucket {
    async fn signed(&self, range: BlobRange<'_>) -> Result<Request, BackendError> {
        let url = self.bucket.object(range)?;
        let mut request = Request::get(url.clone(), range);
        let Some(credentials) = &self.credentials else {
            return Ok(request);
        };
        let mut head = head(&url).ok_or_else(|| self.bucket.cannot_sign())?;
        let (context, mut keys) = (Context::new(), credentials.keys());
        let signing = self
            .signer
            .sign_request(&context, &mut head, Some(&keys), None);
        let signed = signing.await;
        keys.secret_access_key.zeroize();
        keys.session_token.zeroize();
        signed.map_err(|_| self.bucket.cannot_sign())?;
        request.headers.extend(head.headers);
        Ok(request)
    }
}

impl Credentials {
    fn keys(&self) -> reqsign_aws_v4::Credential {
        let token = self.session_token.as_ref();
        reqsign_aws_v4::Credential {
            access_key_id: self.access_key_id.reveal().to_owned(),
            secret_access_key: self.access_key_secret.reveal().to_owned(),
            session_token: token.map(|token| token.reveal().to_owned()),
            expires_in: None,
        }
    }
}

/// A GET without any headers, to be signed.
pub(super) fn head(url: &Url) -> Option<Parts> {
    let request = http::Request::get(url.as_str()).body(()).ok()?;
    Some(request.into_parts().0)
}

impl Target for S3Bucket {
    fn describe(&self) -> String {
        self.bucket.name.clone()
    }

    fn request<'a>(&'a self, range: BlobRange<'a>) -> BoxFuture<'a, Result<Request, BackendError>> {
        Box::pin(self.signed(range))
    }

    fn refused(&self, refusal: &Refusal) -> Reaction {
        Reaction::Fail(code(refusal))
    }
}
