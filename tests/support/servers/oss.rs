//! A stand-in for Alibaba Cloud OSS that checks signatures.
//!
//! Rules: OSS documentation, "Include V1 signatures in the Authorization
//! header". The signature is computed here from the request as it arrived, with
//! none of the code under test.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use sha1::Sha1;

use super::blob_id;
use super::loopback::{Answer, Loopback, range, text};

/// Name of the bucket.
pub const BUCKET: &str = "images";

/// How far a client's clock may be off.
const SKEW: Duration = Duration::from_secs(15 * 60);

/// What requests must be signed with.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Names the keys.
    pub id: String,
    /// Signs.
    pub secret: String,
    /// Must be there and signed too, if there is one.
    pub token: Option<String>,
}

/// A running server.
#[derive(Debug)]
pub struct Oss {
    server: Loopback,
    objects: Objects,
}

type Objects = Arc<Mutex<HashMap<String, Bytes>>>;

impl Oss {
    /// Starts one that lets in who signs with `keys`; without keys, everybody.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(keys: Option<Keys>) -> io::Result<Self> {
        let objects = Objects::default();
        let stored = Arc::clone(&objects);
        let server = Loopback::start(move |request| {
            answer(request, keys.as_ref(), &stored).unwrap_or_else(|(status, code)| {
                text(status, &format!("<Error><Code>{code}</Code></Error>"))
            })
        })?;
        Ok(Self { server, objects })
    }

    /// The service, `http://localhost:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://localhost:{}", self.server.port())
    }

    /// Puts a blob into the bucket, below this prefix; gives back its id.
    pub fn put(&self, prefix: &str, bytes: &[u8]) -> String {
        let id = blob_id(bytes);
        let bytes = Bytes::copy_from_slice(bytes);
        self.objects.lock().insert(format!("{prefix}{id}"), bytes);
        id
    }
}

fn header<'a>(request: &'a Request<Bytes>, name: &str) -> &'a str {
    let value = request.headers().get(name);
    value.and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// The object's name, by the bucket's host name or by the first part of the
/// path.
fn object(request: &Request<Bytes>) -> Option<String> {
    let path = request.uri().path().strip_prefix('/')?;
    let key = if header(request, "host").starts_with(&format!("{BUCKET}.")) {
        path
    } else {
        path.strip_prefix(BUCKET)?.strip_prefix('/')?
    };
    let key = percent_decode_str(key).decode_utf8().ok()?;
    Some(key.into_owned())
}

/// Status and OSS's code for why.
type Refusal = (StatusCode, &'static str);

fn answer(
    request: &Request<Bytes>,
    keys: Option<&Keys>,
    objects: &Mutex<HashMap<String, Bytes>>,
) -> Result<Answer, Refusal> {
    let missing = || (StatusCode::NOT_FOUND, "NoSuchKey");
    let name = object(request).ok_or_else(missing)?;
    match keys {
        Some(keys) => check(request, keys, &name)?,
        None if header(request, "authorization").is_empty() => {}
        None => return Err((StatusCode::FORBIDDEN, "InvalidAccessKeyId")),
    }
    let bytes = objects.lock().get(&name).cloned().ok_or_else(missing)?;
    let mut response = Response::builder().header("accept-ranges", "bytes");
    let part = match range(request, bytes.len()).map_err(|status| (status, "InvalidRange"))? {
        None => bytes,
        Some((first, last)) => {
            let place = format!("bytes {first}-{last}/{}", bytes.len());
            response = response.status(StatusCode::PARTIAL_CONTENT);
            response = response.header("content-range", place);
            bytes.slice(first..=last)
        }
    };
    let response = response.body(Full::from(part));
    response.map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"))
}

/// Checks who asks.
fn check(request: &Request<Bytes>, keys: &Keys, name: &str) -> Result<(), Refusal> {
    let refuse = |code| Err((StatusCode::FORBIDDEN, code));
    let authorization = header(request, "authorization");
    let Some((id, signature)) = authorization
        .strip_prefix("OSS ")
        .and_then(|rest| rest.split_once(':'))
    else {
        return refuse("AccessDenied");
    };
    if id != keys.id {
        return refuse("InvalidAccessKeyId");
    }
    if header(request, "x-oss-security-token") != keys.token.as_deref().unwrap_or("") {
        return refuse("InvalidSecurityToken");
    }
    let sent = httpdate::parse_http_date(header(request, "date"));
    let Ok(sent) = sent else {
        return refuse("AccessDenied");
    };
    let now = SystemTime::now();
    let (earlier, later) = (sent.min(now), sent.max(now));
    if later.duration_since(earlier).unwrap_or(SKEW) >= SKEW {
        return refuse("RequestTimeTooSkewed");
    }
    let Ok(signature) = STANDARD.decode(signature) else {
        return refuse("SignatureDoesNotMatch");
    };
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(keys.secret.as_bytes()) else {
        return refuse("InvalidAccessKeyId");
    };
    mac.update(string_to_sign(request, name).as_bytes());
    if mac.verify_slice(&signature).is_err() {
        return refuse("SignatureDoesNotMatch");
    }
    Ok(())
}

/// Verb, digest, type, date, the sorted `x-oss-` headers, bucket and object.
fn string_to_sign(request: &Request<Bytes>, name: &str) -> String {
    let own = request.headers().iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        let ours = name.as_str().starts_with("x-oss-");
        ours.then(|| (name.as_str().to_owned(), value.trim().to_owned()))
    });
    let own: BTreeMap<String, String> = own.collect();
    let own: String = own
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    format!(
        "{}\n{}\n{}\n{}\n{own}/{BUCKET}/{name}",
        request.method(),
        header(request, "content-md5"),
        header(request, "content-type"),
        header(request, "date"),
    )
}
