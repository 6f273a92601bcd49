//! Asks a token server for access tokens, as docker does:
//! <https://distribution.github.io/distribution/spec/auth/token/> and
//! <https://distribution.github.io/distribution/spec/auth/oauth/>.

use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, DATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::challenge::Realm;
use super::credentials::Credential;
use crate::backend::error::chain;
use crate::backend::http::url::SafeUrl;
use crate::backend::http::{Called, Client};
use crate::backend::secret::Secret;

/// How long a token is good when the server does not say: as the specification
/// has it.
const DEFAULT_SECONDS: u64 = 60;

/// Longest that a token is used, whatever the server says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Who we are to an OAuth2 server.
const CLIENT_ID: &str = "tidegate";

/// An access token.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: Secret,
    /// From here on a new one is worth fetching.
    pub(super) renew: Instant,
    /// From here on it is of no use.
    pub(super) expires: Instant,
}

/// Why there is no token.
#[derive(Clone, Debug)]
pub(super) struct NoToken {
    /// What happened and what to do, without secrets.
    pub(super) reason: Box<str>,
    /// Whether it may pass.
    pub(super) passing: bool,
}

impl NoToken {
    pub(super) fn new(reason: impl Into<Box<str>>) -> Self {
        let (reason, passing) = (reason.into(), false);
        Self { reason, passing }
    }
}

/// Fetches a token.
pub(super) async fn fetch(
    client: &Client,
    realm: &Realm,
    credential: Option<&Credential>,
) -> Result<Token, NoToken> {
    let url = Url::parse(&realm.realm)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| NoToken::new("the realm of its token server is no HTTP URL"))?;
    let asked = Instant::now();
    let called = match credential {
        Some(Credential::Identity(token)) => {
            let grant = [
                ("grant_type", "refresh_token"),
                ("refresh_token", token.reveal()),
            ];
            post(client, &url, realm, &grant).await?
        }
        Some(Credential::Basic { user, password }) => {
            let called = get(client, &url, realm, Some((user, password))).await?;
            if matches!(called.status.as_u16(), 404 | 405) {
                let grant = [
                    ("grant_type", "password"),
                    ("username", user.as_str()),
                    ("password", password.reveal()),
                ];
                post(client, &url, realm, &grant).await?
            } else {
                called
            }
        }
        Some(Credential::Bearer(_)) | None => get(client, &url, realm, None).await?,
    };
    read(&url, called, asked)
}

async fn get(
    client: &Client,
    url: &Url,
    realm: &Realm,
    account: Option<(&String, &Secret)>,
) -> Result<Called, NoToken> {
    let mut url = url.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &realm.service {
            query.append_pair("service", service);
        }
        for scope in &realm.scopes {
            query.append_pair("scope", scope);
        }
        if let Some((user, _)) = account {
            query.append_pair("account", user);
        }
    }
    let header = account
        .map(|(user, password)| basic(user, password))
        .transpose()?;
    let called = client.call(Method::GET, url, |request| match header {
        Some(header) => request.header(AUTHORIZATION, header),
        None => request,
    });
    called.await.map_err(|error| NoToken {
        passing: error.is_retryable(),
        reason: chain(&error).into(),
    })
}

async fn post(
    client: &Client,
    url: &Url,
    realm: &Realm,
    grant: &[(&str, &str)],
) -> Result<Called, NoToken> {
    let scope = realm.scopes.join(" ");
    let mut form = grant.to_vec();
    form.push(("client_id", CLIENT_ID));
    form.push(("scope", &scope));
    if let Some(service) = &realm.service {
        form.push(("service", service));
    }
    let called = client.call(Method::POST, url.clone(), |request| request.form(&form));
    called.await.map_err(|error| NoToken {
        passing: error.is_retryable(),
        reason: chain(&error).into(),
    })
}

/// `Authorization` with a user and a password.
pub(super) fn basic(user: &str, password: &Secret) -> Result<HeaderValue, NoToken> {
    let text = http_auth::basic::encode_credentials(user, password.reveal());
    sensitive(text)
}

/// `Authorization` with a token.
pub(super) fn bearer(token: &Secret) -> Result<HeaderValue, NoToken> {
    sensitive(format!("Bearer {}", token.reveal()))
}

fn sensitive(text: String) -> Result<HeaderValue, NoToken> {
    let text = zeroize::Zeroizing::new(text);
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| NoToken::new("the credentials hold characters that no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Deserialize)]
struct Granted {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<u64>,
    issued_at: Option<String>,
}

fn read(url: &Url, called: Called, asked: Instant) -> Result<Token, NoToken> {
    let server = SafeUrl::from(url);
    if called.status != StatusCode::OK {
        let status = called.status.as_u16();
        let advice = match status {
            400..=403 => "check the credentials",
            _ => "see its log",
        };
        return Err(NoToken {
            reason: format!("token server {server} answered with status {status}: {advice}").into(),
            passing: status >= 500 || status == 429 || status == 408,
        });
    }
    // The parser's message could repeat a token.
    let granted: Granted = serde_json::from_slice(&called.body)
        .map_err(|_| NoToken::new(format!("token server {server} answered with no token")))?;
    let text = [granted.token, granted.access_token].into_iter().flatten();
    let text = text.into_iter().find(|text| !text.is_empty());
    let text =
        text.ok_or_else(|| NoToken::new(format!("token server {server} answered with no token")))?;
    let valid = Duration::from_secs(granted.expires_in.unwrap_or(DEFAULT_SECONDS)).min(LONGEST);
    let age = granted
        .issued_at
        .and_then(|issued| age(&issued, &called.headers));
    let left = valid.saturating_sub(age.unwrap_or_default());
    Ok(Token {
        text,
        renew: asked + left.mul_f32(0.75),
        expires: asked + left,
    })
}

/// How old a token was when it was sent, by the server's own clock.
fn age(issued: &str, headers: &HeaderMap) -> Option<Duration> {
    let issued = humantime::parse_rfc3339(issued).ok()?;
    let sent = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let age: Result<Duration, _> = SystemTime::duration_since(&sent, issued);
    age.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(body: &str, date: Option<&'static str>) -> Result<Token, NoToken> {
        let mut headers = HeaderMap::new();
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_static(date));
        }
        let called = Called {
            status: StatusCode::OK,
            headers,
            body: zeroize::Zeroizing::new(body.as_bytes().to_vec()),
        };
        read(
            &Url::parse("https://auth/t?x=y").unwrap(),
            called,
            Instant::now(),
        )
    }

    /// Seconds that a token lasts, if the test takes less than one.
    fn left(token: &Token) -> u64 {
        (token.expires.duration_since(Instant::now()) + Duration::from_secs(1)).as_secs()
    }

    #[tokio::test]
    async fn a_token_lasts_as_long_as_the_server_says() {
        let token = granted(r#"{"token":"t","expires_in":300}"#, None).unwrap();
        assert_eq!((token.text.reveal(), left(&token)), ("t", 300));
        let token = granted(r#"{"access_token":"a","token":""}"#, None).unwrap();
        assert_eq!((token.text.reveal(), left(&token)), ("a", 60));
        let old = r#"{"token":"t","expires_in":300,"issued_at":"2013-05-24T00:00:00Z"}"#;
        let token = granted(old, Some("Fri, 24 May 2013 00:01:40 GMT")).unwrap();
        assert_eq!(left(&token), 200);
        assert_eq!(left(&granted(old, None).unwrap()), 300);
        assert!(token.renew < token.expires);
    }

    #[tokio::test]
    async fn an_answer_without_a_token_is_an_error_that_repeats_nothing() {
        for body in [
            "",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":"hunter2""#,
            r#"["hunter2"]"#,
        ] {
            let reason = granted(body, None).err().unwrap().reason;
            assert!(reason.contains("https://auth/t answered"), "{reason}");
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }
}
