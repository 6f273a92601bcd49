//! Blobs as objects of an S3 bucket: `<object prefix><blob id>`.

use url::Url;

use super::secret::Secret;

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

/// Where the bucket stands in a URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Style {
    /// `https://endpoint/bucket/object`, which every server knows.
    #[default]
    Path,
    /// `https://bucket.endpoint/object`.
    VirtualHost,
}
