//! Blobs as objects of an Alibaba Cloud OSS bucket: `<object prefix><blob id>`.

use url::Url;

use super::secret::Secret;

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

/// Where the bucket stands in a URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Style {
    /// `https://bucket.endpoint/object`, all that OSS itself accepts.
    #[default]
    VirtualHost,
    /// `https://endpoint/bucket/object`, for test servers and addresses.
    Path,
}
