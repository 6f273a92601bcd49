//! Blobs as objects of an Alibaba Cloud OSS bucket: `<object prefix><blob id>`.
//!
//! Ranged GETs of the HTTP layer, signed by the crate reqsign-aliyun-oss with
//! version 1 signatures (HMAC-SHA1), which need no region and which nydusd
//! uses. `s3` says why no object store library is used.

use futures_util::future::BoxFuture;
use reqsign_aliyun_oss::RequestSigner;
use reqsign_core::{Context, SignRequest as _};
use url::Url;
use zeroize::Zeroize as _;

use super::bucket::{Bucket, code};
use super::http::{Ranged, Reaction, Refusal, Request, Target, Transport};
use super::s3::head;
use super::secret::Secret;
use super::{BackendError, BlobRange};

pub use super::bucket::Style;

/// Where the bucket is and who asks.
#[derive(Clone, Debug)]
pub struct Options {
    /// The service: scheme, host and port, without the bucket.
    pub endpoint: Url,
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

/// Keys of an account.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Identifies the keys. It is sent as it is, but shown nowhere.
    pub access_key_id: Secret,
    /// Signs.
    pub access_key_secret: Secret,
    /// Belongs to temporary keys.
    pub security_token: Option<Secret>,
}

/// A bucket as a backend.
pub type Oss = Ranged<OssBucket>;

/// What is special about OSS.
#[derive(Debug)]
pub struct OssBucket {
    bucket: Bucket,
    credentials: Option<Credentials>,
    signer: RequestSigner,
}

/// A backend over a bucket.
///
/// # Errors
/// When the options make no URL or the client cannot be set up.
pub fn open(options: &Options) -> Result<Oss, BackendError> {
    let bucket = Bucket::new(
        &options.endpoint,
        &options.bucket_name,
        &options.object_prefix,
        options.style,
    )?;
    let target = OssBucket {
        bucket,
        credentials: options.credentials.clone(),
        signer: RequestSigner::new(&options.bucket_name),
    };
    Ranged::new(target, &options.transport)
}

impl OssBucket {
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
        keys.access_key_secret.zeroize();
        keys.security_token.zeroize();
        signed.map_err(|_| self.bucket.cannot_sign())?;
        request.headers.extend(head.headers);
        Ok(request)
    }
}

impl Credentials {
    fn keys(&self) -> reqsign_aliyun_oss::Credential {
        let token = self.security_token.as_ref();
        reqsign_aliyun_oss::Credential {
            access_key_id: self.access_key_id.reveal().to_owned(),
            access_key_secret: self.access_key_secret.reveal().to_owned(),
            security_token: token.map(|token| token.reveal().to_owned()),
            expires_in: None,
        }
    }
}

impl Target for OssBucket {
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
