//! Basic and Bearer, as the distribution specification and Docker's token
//! protocol have them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::json;
use url::form_urlencoded;

use super::settings::Auth;

/// Tokens that were given out, with their ends.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<String, Instant>>);

/// What `/token` says.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Tokens {
    pub(super) fn expire(&self) {
        self.0.lock().clear();
    }

    /// Whether this `Authorization` header opens the door.
    pub(super) fn accepts(&self, auth: &Auth, header: Option<&str>) -> bool {
        match auth {
            Auth::Open => true,
            Auth::Basic { user, password } => {
                basic(header) == Some((user.clone(), password.clone()))
            }
            Auth::Bearer { .. } => header
                .and_then(|text| text.strip_prefix("Bearer "))
                .and_then(|token| self.0.lock().get(token).copied())
                .is_some_and(|end| Instant::now() < end),
        }
    }

    /// Answers `/token`. `form` is a POST's body.
    pub(super) fn grant(
        &self,
        auth: &Auth,
        header: Option<&str>,
        form: Option<&[u8]>,
        id: u64,
    ) -> Grant {
        let Auth::Bearer {
            login,
            expires_ms,
            told_s,
            get_only,
        } = auth
        else {
            return refuse(404, "there are no tokens here");
        };
        if *get_only && form.is_some() {
            return refuse(405, "tokens are for GET");
        }
        let said = form.map_or_else(|| basic(header), login_of);
        if login.is_some() && said != *login {
            return refuse(401, "wrong user or password");
        }
        let token = format!("token-{id:016x}");
        let end = Instant::now() + Duration::from_millis(*expires_ms);
        self.0.lock().insert(token.clone(), end);
        let name = if form.is_some() {
            "access_token"
        } else {
            "token"
        };
        let mut body = json!({ name: token });
        if let Some(seconds) = told_s {
            body["expires_in"] = json!(seconds);
        }
        Grant {
            status: 200,
            body: body.to_string(),
        }
    }
}

fn refuse(status: u16, why: &str) -> Grant {
    Grant {
        status,
        body: json!({ "errors": [{ "code": "UNAUTHORIZED", "message": why }] }).to_string(),
    }
}

/// `WWW-Authenticate` of a 401.
pub(super) fn challenge(auth: &Auth, base: &str, repository: &str) -> Option<String> {
    match auth {
        Auth::Open => None,
        Auth::Basic { .. } => Some("Basic realm=\"test-registry\"".into()),
        Auth::Bearer { .. } => Some(format!(
            "Bearer realm=\"{base}/token\",service=\"test-registry\",\
             scope=\"repository:{repository}:pull\""
        )),
    }
}

fn basic(header: Option<&str>) -> Option<(String, String)> {
    let raw = STANDARD.decode(header?.strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(raw).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn login_of(form: &[u8]) -> Option<(String, String)> {
    let fields: HashMap<_, _> = form_urlencoded::parse(form).into_owned().collect();
    Some((
        fields.get("username")?.clone(),
        fields.get("password")?.clone(),
    ))
}
