//! The keys of a bucket of OSS or S3.

use serde::Deserialize;

use super::network::{self, NETWORK_KEYS};
use super::{Shown, origin, scheme, show_host};
use crate::backend::secret::Secret;
use crate::config::document::Tree;
use crate::config::error::ConfigError;
use crate::config::model::{BackendConfig, BucketConfig, BucketKeys, Scheme};
use crate::config::reader::{Reader, join, secret};

/// The services that have buckets.
#[derive(Clone, Copy)]
pub(super) enum Service {
    Oss,
    S3,
}

pub(super) fn bucket(
    mut table: Tree,
    reader: &mut Reader,
    at: &str,
    service: Service,
) -> Result<(BackendConfig, Shown), ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        scheme: Option<String>,
        #[serde(default)]
        endpoint: String,
        #[serde(default)]
        region: String,
        bucket_name: String,
        #[serde(default)]
        object_prefix: String,
        #[serde(default, deserialize_with = "secret")]
        access_key_id: Option<Secret>,
        #[serde(default, deserialize_with = "secret")]
        access_key_secret: Option<Secret>,
        // These two are Tidegate's.
        #[serde(default, deserialize_with = "secret")]
        session_token: Option<Secret>,
        style: Option<String>,
    }
    let network = table.split(&NETWORK_KEYS);
    let keys: Keys = reader.read(&table, at)?;
    let key = |name| join(at, name);
    let scheme = scheme(reader, &key("scheme"), keys.scheme.as_deref().unwrap_or(""))?;
    let endpoint = match (service, keys.endpoint.as_str(), keys.region.as_str()) {
        (Service::S3, _, "") => return Err(reader.wrong(&key("region"), "is missing")),
        (Service::S3, "", region) => format!("s3.{region}.amazonaws.com"),
        (Service::Oss, "", _) => return Err(reader.wrong(&key("endpoint"), "is missing")),
        (Service::Oss | Service::S3, endpoint, _) => endpoint.to_owned(),
    };
    let scheme = scheme.unwrap_or(Scheme::Https);
    let endpoint = origin(reader, &key("endpoint"), scheme, &endpoint)?;
    if keys.bucket_name.is_empty() || keys.bucket_name.contains('/') {
        return Err(reader.wrong(&key("bucket_name"), "is no name of a bucket"));
    }
    let virtual_host = match keys.style.as_deref() {
        None => None,
        Some("path") => Some(false),
        Some("virtual-host") => Some(true),
        Some(_) => return Err(reader.wrong(&key("style"), "is neither path nor virtual-host")),
    };
    let bucket_keys = match (keys.access_key_id, keys.access_key_secret) {
        (Some(access_key_id), Some(access_key_secret)) => Some(BucketKeys {
            access_key_id,
            access_key_secret,
            session_token: keys.session_token,
        }),
        (None, None) => None,
        (Some(_), None) => return Err(reader.wrong(&key("access_key_secret"), "is missing")),
        (None, Some(_)) => return Err(reader.wrong(&key("access_key_id"), "is missing")),
    };
    let (network, mut shown) = network::parse(network, reader, at)?;
    shown.extend(Shown::from([
        ("scheme", endpoint.scheme().into()),
        ("endpoint", show_host(&endpoint).into()),
        ("bucket_name", keys.bucket_name.clone().into()),
        ("object_prefix", keys.object_prefix.clone().into()),
    ]));
    if let Service::S3 = service {
        shown.insert("region", keys.region.clone().into());
    }
    let bucket = BucketConfig {
        endpoint,
        region: keys.region,
        bucket_name: keys.bucket_name,
        object_prefix: keys.object_prefix,
        keys: bucket_keys,
        virtual_host,
        network,
    };
    let backend = match service {
        Service::Oss => BackendConfig::Oss(bucket),
        Service::S3 => BackendConfig::S3(bucket),
    };
    Ok((backend, shown))
}
