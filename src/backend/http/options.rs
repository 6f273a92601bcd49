//! How the HTTP client of a source behaves.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::proxy;

/// Environment variables with this prefix name a header of every request.
const HEADER_PREFIX: &str = "NYDUS_HEADER_";

/// How requests of one source travel. The defaults are nydusd's.
#[derive(Clone, Debug)]
pub struct Transport {
    /// Longest wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Longest wait for the headers of an answer, and for the next bytes of its
    /// body. The whole request may take twice this long and a second per
    /// [`SLOWEST`](super::SLOWEST) bytes asked for.
    pub timeout: Duration,
    /// Accept any certificate. What is fetched is proved all the same, but
    /// credentials can be stolen.
    pub skip_verify: bool,
    /// PEM files of certificate authorities that are trusted besides the
    /// system's.
    pub ca_cert_files: Vec<PathBuf>,
    /// Headers of every request; see [`headers_from_env`]. `Authorization` and
    /// cookies among them do not follow a redirect to another host.
    pub headers: Headers,
    /// Tell the source each request's priority with Dragonfly's headers: for
    /// sources that are peers or mirrors. Requests through a proxy have them
    /// anyway.
    pub dragonfly: bool,
    /// Proxy that requests go through while it is healthy.
    pub proxy: Option<proxy::Options>,
    /// Socket that takes the place of the network.
    pub unix_socket: Option<PathBuf>,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            skip_verify: false,
            ca_cert_files: Vec::new(),
            headers: Headers::default(),
            dragonfly: false,
            proxy: None,
            unix_socket: None,
        }
    }
}

/// Headers to add to requests. Prints their names only.
#[derive(Clone, Default)]
pub struct Headers(HeaderMap);

impl Headers {
    /// Sets a header, in place of one of this name.
    pub fn set(&mut self, name: HeaderName, mut value: HeaderValue) {
        value.set_sensitive(true);
        self.0.insert(name, value);
    }

    /// The headers as they are sent.
    pub fn reveal(&self) -> &HeaderMap {
        &self.0
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// The headers that `NYDUS_HEADER_<Name>=value` variables ask for. A variable
/// that makes no legal header is skipped with a warning.
pub fn headers_from_env() -> Headers {
    headers_from(
        std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }),
    )
}

fn headers_from(variables: impl Iterator<Item = (String, String)>) -> Headers {
    let mut headers = Headers::default();
    for (variable, value) in variables {
        let Some(name) = variable.strip_prefix(HEADER_PREFIX) else {
            continue;
        };
        match (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            (Ok(name), Ok(value)) => headers.set(name, value),
            _ => log::warn!("Variable {variable:?} makes no legal header and is ignored"),
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_headers_whose_values_are_not_printed() {
        let variables = [
            ("NYDUS_HEADER_X-Tenant", "blue"),
            ("NYDUS_HEADER_", "nameless"),
            ("NYDUS_HEADER_X-Bad", "two\nlines"),
            ("HOME", "/"),
        ];
        let headers = headers_from(variables.map(|(k, v)| (k.into(), v.into())).into_iter());
        assert_eq!(headers.reveal().len(), 1);
        assert_eq!(headers.reveal()["x-tenant"], "blue");
        assert_eq!(format!("{headers:?}"), "[\"x-tenant\"]");
    }
}
