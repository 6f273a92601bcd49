//! The keys of how a remote source is reached.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Shown;
use crate::backend::secret::Secret;
use crate::config::document::Tree;
use crate::config::error::ConfigError;
use crate::config::model::{HiddenUrl, MirrorConfig, NetworkConfig, ProxyConfig};
use crate::config::reader::{Reader, join, text};

/// The keys read here.
pub(super) const NETWORK_KEYS: [&str; 7] = [
    "timeout",
    "connect_timeout",
    "retry_limit",
    "skip_verify",
    "ca_cert_files",
    "proxy",
    "mirrors",
];

/// Reads them from a table that has no others.
pub(super) fn parse(
    table: Tree,
    reader: &mut Reader,
    at: &str,
) -> Result<(NetworkConfig, Shown), ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(default = "five")]
        timeout: u32,
        #[serde(default = "five")]
        connect_timeout: u32,
        #[serde(default)]
        retry_limit: u8,
        #[serde(default)]
        skip_verify: bool,
        #[serde(default)]
        ca_cert_files: Vec<PathBuf>,
        #[serde(default)]
        proxy: Proxy,
        #[serde(default)]
        mirrors: Vec<Mirror>,
    }
    let keys: Keys = reader.read(&table, at)?;
    let seconds = |seconds: u32| (seconds > 0).then(|| Duration::from_secs(seconds.into()));
    let proxy = proxy(&keys.proxy, reader, &join(at, "proxy"))?;
    let mut mirrors = Vec::with_capacity(keys.mirrors.len());
    for (index, mirror) in keys.mirrors.into_iter().enumerate() {
        let key = join(at, &format!("mirrors[{index}]"));
        mirrors.push(self::mirror(mirror, reader, &key)?);
    }
    let hosts = mirrors.iter().map(|mirror| mirror.host.to_string());
    let shown = Shown::from([
        ("timeout", keys.timeout.into()),
        ("connect_timeout", keys.connect_timeout.into()),
        ("retry_limit", keys.retry_limit.into()),
        ("skip_verify", keys.skip_verify.into()),
        ("proxy", show_proxy(proxy.as_ref())),
        (
            "mirrors",
            hosts
                .map(|host| serde_json::json!({ "host": host }))
                .collect(),
        ),
    ]);
    let network = NetworkConfig {
        timeout: seconds(keys.timeout),
        connect_timeout: seconds(keys.connect_timeout),
        retry_limit: keys.retry_limit,
        skip_verify: keys.skip_verify,
        ca_cert_files: keys.ca_cert_files,
        proxy,
        mirrors,
    };
    Ok((network, shown))
}

#[derive(Deserialize)]
#[serde(default)]
struct Proxy {
    #[serde(deserialize_with = "text")]
    url: Secret,
    #[serde(deserialize_with = "text")]
    ping_url: Secret,
    fallback: bool,
    check_interval: u64,
    check_pause_elapsed: u64,
    use_http: bool,
    dragonfly_scheduler_endpoint: String,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            ping_url: Secret::default(),
            fallback: true,
            check_interval: 5,
            check_pause_elapsed: 300,
            use_http: false,
            dragonfly_scheduler_endpoint: String::new(),
        }
    }
}

fn proxy(keys: &Proxy, reader: &Reader, at: &str) -> Result<Option<ProxyConfig>, ConfigError> {
    if !keys.dragonfly_scheduler_endpoint.is_empty() {
        let reason = "Dragonfly's scheduler is not spoken to; use its proxy with url and ping_url";
        return Err(reader.wrong(&join(at, "dragonfly_scheduler_endpoint"), reason));
    }
    let ping_url = optional_url(reader, &join(at, "ping_url"), &keys.ping_url)?;
    let Some(url) = optional_url(reader, &join(at, "url"), &keys.url)? else {
        return Ok(None);
    };
    if keys.check_interval == 0 {
        return Err(reader.wrong(&join(at, "check_interval"), "must be at least 1 second"));
    }
    Ok(Some(ProxyConfig {
        url,
        ping_url,
        fallback: keys.fallback,
        check_interval: Duration::from_secs(keys.check_interval),
        check_pause_elapsed: Duration::from_secs(keys.check_pause_elapsed),
        use_http: keys.use_http,
    }))
}

#[derive(Deserialize)]
struct Mirror {
    #[serde(deserialize_with = "text")]
    host: Secret,
    #[serde(default, deserialize_with = "text")]
    ping_url: Secret,
    #[serde(default)]
    headers: BTreeMap<String, Header>,
    #[serde(default)]
    auth_through: bool,
    #[serde(default = "five")]
    health_check_interval: u32,
    #[serde(default = "five_failures")]
    failure_limit: u8,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Header(#[serde(deserialize_with = "text")] Secret);

fn mirror(keys: Mirror, reader: &Reader, at: &str) -> Result<MirrorConfig, ConfigError> {
    for (name, value) in &keys.headers {
        let is_name = http::HeaderName::from_bytes(name.as_bytes()).is_ok();
        let is_value = http::HeaderValue::from_str(value.0.reveal()).is_ok();
        if !is_name || !is_value {
            return Err(reader.wrong(&join(at, &format!("headers.{name}")), "is no HTTP header"));
        }
    }
    if keys.health_check_interval == 0 {
        let key = join(at, "health_check_interval");
        return Err(reader.wrong(&key, "must be at least 1 second"));
    }
    let headers = keys.headers.into_iter();
    Ok(MirrorConfig {
        host: reader.url(&join(at, "host"), keys.host.reveal())?.into(),
        headers: headers.map(|(name, value)| (name, value.0)).collect(),
        ping_url: optional_url(reader, &join(at, "ping_url"), &keys.ping_url)?,
        auth_through: keys.auth_through,
        health_check_interval: Duration::from_secs(keys.health_check_interval.into()),
        failure_limit: keys.failure_limit,
    })
}

fn show_proxy(proxy: Option<&ProxyConfig>) -> serde_json::Value {
    #[derive(Serialize)]
    struct Keys {
        url: String,
        ping_url: String,
        fallback: bool,
        check_interval: u64,
        use_http: bool,
    }
    let keys = proxy.map(|proxy| Keys {
        url: proxy.url.to_string(),
        ping_url: proxy
            .ping_url
            .as_ref()
            .map(HiddenUrl::to_string)
            .unwrap_or_default(),
        fallback: proxy.fallback,
        check_interval: proxy.check_interval.as_secs(),
        use_http: proxy.use_http,
    });
    serde_json::to_value(keys).unwrap_or_default()
}

fn optional_url(
    reader: &Reader,
    key: &str,
    text: &Secret,
) -> Result<Option<HiddenUrl>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    reader.url(key, text.reveal()).map(|url| Some(url.into()))
}

fn five() -> u32 {
    5
}

fn five_failures() -> u8 {
    5
}
