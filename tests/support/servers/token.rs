//! A server of tokens as docker-registry wants them.
//!
//! Protocol and claims: the CNCF distribution project's "Token Authentication
//! Specification". Signatures come from openssl.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use url::form_urlencoded;

use super::loopback::{Answer, Loopback, basic, text};
use super::process::run;
use super::registry::USER;

/// Name of the registry, as tokens name it.
pub const SERVICE: &str = "test registry";
/// Name of this server, as tokens name it.
pub const ISSUER: &str = "test issuer";

/// Seconds that a token is good for.
const LIFETIME: u64 = 300;

/// A running token server.
#[derive(Debug)]
pub struct TokenServer {
    server: Loopback,
    signer: Arc<Signer>,
}

#[derive(Debug)]
struct Signer {
    home: PathBuf,
    /// The certificate as base64 of DER: a PEM file without its frame.
    certificate: String,
    password: String,
    anonymous: bool,
    given: AtomicUsize,
}

impl TokenServer {
    /// Starts one that signs with `token.key` of `home`; without `anonymous` it
    /// asks for a password.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(home: &Path, password: &str, anonymous: bool) -> io::Result<Self> {
        let pem = fs::read_to_string(home.join("token.pem"))?;
        let certificate = pem.lines().filter(|line| !line.starts_with("-----"));
        let signer = Arc::new(Signer {
            home: home.to_owned(),
            certificate: certificate.collect(),
            password: password.to_owned(),
            anonymous,
            given: AtomicUsize::new(0),
        });
        let handler = Arc::clone(&signer);
        let server = Loopback::start(move |request| handler.answer(request))?;
        Ok(Self { server, signer })
    }

    /// The URL that the registry sends clients to.
    pub fn realm(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.server.port())
    }

    /// How many tokens clients got.
    pub fn given(&self) -> usize {
        self.signer.given.load(Ordering::SeqCst)
    }

    /// A token for these actions on a repository.
    ///
    /// # Errors
    /// When openssl fails.
    pub fn sign(&self, repo: &str, actions: &[&str]) -> io::Result<String> {
        self.signer.sign(repo, actions)
    }
}

impl Signer {
    fn answer(&self, request: &Request<Bytes>) -> Answer {
        if request.uri().path() != "/token" {
            return text(StatusCode::NOT_FOUND, "no such page");
        }
        let posted = request.method() == Method::POST;
        let pairs = match request.uri().query() {
            Some(query) if !posted => query.as_bytes(),
            _ => request.body(),
        };
        let field = |name: &str| {
            let mut pairs = form_urlencoded::parse(pairs);
            let found = pairs.find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned())
        };
        let who = if posted {
            field("username").zip(field("password"))
        } else {
            basic(request)
        };
        match &who {
            Some((user, password)) if user == USER && *password == self.password => {}
            None if self.anonymous => {}
            _ => return text(StatusCode::UNAUTHORIZED, "wrong user or password"),
        }
        if field("service").as_deref() != Some(SERVICE) {
            return text(StatusCode::BAD_REQUEST, "no such service");
        }
        let scopes = form_urlencoded::parse(pairs).filter(|(key, _)| key == "scope");
        let scopes: Vec<String> = scopes
            .flat_map(|(_, value)| value.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let mut access = Vec::with_capacity(scopes.len());
        for scope in &scopes {
            let rest = scope.strip_prefix("repository:");
            let Some((repo, actions)) = rest.and_then(|rest| rest.rsplit_once(':')) else {
                return text(StatusCode::BAD_REQUEST, "only repositories");
            };
            let actions: Vec<&str> = actions.split(',').collect();
            // Nobody in particular may only read.
            if who.is_none() && actions != ["pull"] {
                return text(StatusCode::UNAUTHORIZED, "only pulls");
            }
            access.push((repo, actions));
        }
        match self.sign_all(&access) {
            Ok(token) => {
                self.given.fetch_add(1, Ordering::SeqCst);
                let body = json!({ "token": token, "access_token": token, "expires_in": LIFETIME });
                text(StatusCode::OK, &body.to_string())
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    fn sign(&self, repo: &str, actions: &[&str]) -> io::Result<String> {
        self.sign_all(&[(repo, actions.to_vec())])
    }

    /// A JSON Web Token (RFC 7519) with RS256.
    fn sign_all(&self, access: &[(&str, Vec<&str>)]) -> io::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_err(io::Error::other)?.as_secs();
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [self.certificate] });
        let access = access.iter().map(
            |(repo, actions)| json!({ "type": "repository", "name": repo, "actions": actions }),
        );
        let access: Vec<_> = access.collect();
        let claims = json!({
            "iss": ISSUER, "sub": USER, "aud": SERVICE,
            "exp": now + LIFETIME, "nbf": now - 10, "iat": now,
            "jti": now.to_string(), "access": access,
        });
        let coded = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", coded(header), coded(claims));
        let file = tempfile::NamedTempFile::new_in(&self.home)?;
        fs::write(file.path(), &message)?;
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-sign"]);
        let signature = run(openssl.arg(self.home.join("token.key")).arg(file.path()))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
