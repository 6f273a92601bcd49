//! What a registry demands in `WWW-Authenticate`.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// A demand that can be met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from a token server.
    Bearer(Realm),
}

/// Where tokens come from, and for what:
/// <https://distribution.github.io/distribution/spec/auth/token/>
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Realm {
    /// The token server's URL, as the registry tells it.
    pub(super) realm: String,
    /// The name that the registry has there.
    pub(super) service: Option<String>,
    /// What the token is to allow, in words of their own.
    pub(super) scopes: Vec<String>,
}

impl Challenge {
    /// The demand of an answer: `Bearer` before `Basic`, since a token goes to
    /// fewer places than a password.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let challenges = http_auth::parse_challenges(value.to_str().ok()?);
            for challenge in challenges.into_iter().flatten() {
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                } else if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let value = |name: &str| {
                        let mut params = challenge.params.iter();
                        let found = params.find(|(key, _)| key.eq_ignore_ascii_case(name));
                        found.map(|(_, value)| value.to_unescaped())
                    };
                    let Some(realm) = value("realm") else {
                        continue;
                    };
                    let scope = value("scope").unwrap_or_default();
                    return Some(Self::Bearer(Realm {
                        realm,
                        service: value("service"),
                        scopes: scope.split_whitespace().map(str::to_owned).collect(),
                    }));
                }
            }
        }
        basic
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&'static str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        Challenge::of(&headers)
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let bearer = "Bearer realm=\"https://auth/t\",service=\"r\",scope=\"a:b:pull c:d:pull\"";
        let realm = Realm {
            realm: "https://auth/t".into(),
            service: Some("r".into()),
            scopes: vec!["a:b:pull".into(), "c:d:pull".into()],
        };
        for values in [
            &[bearer][..],
            &["Basic realm=\"x\"", bearer],
            &[
                "bAsIc realm=\"x\", Bearer realm=\"https://auth/t\",service=\"r\",scope=\"a:b:pull c:d:pull\"",
            ],
        ] {
            assert_eq!(
                of(values),
                Some(Challenge::Bearer(realm.clone())),
                "{values:?}"
            );
        }
        assert_eq!(of(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        for none in [
            &[][..],
            &["Negotiate"],
            &["Bearer service=\"r\""],
            &["=\"\","],
        ] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
