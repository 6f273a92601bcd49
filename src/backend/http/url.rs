//! URLs as people may see them.

use std::fmt;

use url::Url;

/// A URL without user, password, query and fragment: what may be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SafeUrl(Box<str>);

impl From<&Url> for SafeUrl {
    fn from(url: &Url) -> Self {
        let mut text = format!("{}://", url.scheme());
        if let Some(host) = url.host_str() {
            text.push_str(host);
        }
        if let Some(port) = url.port() {
            text.push_str(&format!(":{port}"));
        }
        text.push_str(url.path());
        Self(text.into())
    }
}

impl fmt::Display for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Whether two URLs lead to the same server: credentials for one are good for
/// the other.
pub fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host() == b.host()
        && a.port_or_known_default() == b.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_in_a_url_is_not_shown() {
        let url = Url::parse("https://me:pw@host:5000/v2/a%20b?X-Sig=s#frag").unwrap();
        assert_eq!(
            SafeUrl::from(&url).to_string(),
            "https://host:5000/v2/a%20b"
        );
        let url = Url::parse("http://[::1]/x").unwrap();
        assert_eq!(SafeUrl::from(&url).to_string(), "http://[::1]/x");
    }

    #[test]
    fn another_port_or_scheme_is_another_origin() {
        let [a, b, c, d] = [
            "https://h/a",
            "https://h:443/b",
            "http://h/a",
            "https://h:8/a",
        ]
        .map(|url| Url::parse(url).unwrap());
        assert!(same_origin(&a, &b));
        assert!(!same_origin(&a, &c));
        assert!(!same_origin(&a, &d));
    }
}
