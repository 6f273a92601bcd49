//! Meets a registry's demands: keeps the token, renews it in time, and asks for
//! it once however many requests need it.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;
use url::Url;

use super::challenge::{Challenge, Realm};
use super::credentials::{Credential, Credentials, Origin};
use super::docker;
use super::options::Grants;
use super::token::{NoToken, Token, basic, bearer, fetch};
use crate::backend::BackendError;
use crate::backend::http::Client;

/// What a request was authorised with: tells apart a refusal of what is in use
/// from one of what was replaced meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp(u64);

/// The authorisation of one repository.
pub(super) struct Auth {
    pub(super) source_name: Box<str>,
    pub(super) home: Url,
    pub(super) repo: String,
    pub(super) client: Arc<Client>,
    credentials: Credentials,
    grants: Grants,
    state: Mutex<State>,
    /// Held by the one who talks to the token server.
    turn: Turn<()>,
}

struct State {
    using: Using,
    /// The credentials that `using` came from.
    generation: u64,
    stamp: u64,
    /// The last failure, and when.
    failed: Option<(Instant, NoToken)>,
    renewing: bool,
}

#[derive(Clone)]
enum Using {
    /// Nothing: the registry has demanded nothing yet.
    Nothing,
    Header(HeaderValue),
    Token(Realm, Token),
}

impl Auth {
    pub(super) fn new(
        source_name: &str,
        home: Url,
        repo: &str,
        client: Arc<Client>,
        credentials: Credentials,
        grants: Grants,
    ) -> Self {
        let state = State {
            using: Using::Nothing,
            generation: credentials.origin().1,
            stamp: 0,
            failed: None,
            renewing: false,
        };
        Self {
            source_name: source_name.into(),
            home,
            repo: repo.to_owned(),
            client,
            credentials,
            grants,
            state: Mutex::new(state),
            turn: Turn::new(()),
        }
    }

    /// What to send in `Authorization` now.
    pub(super) async fn header(
        self: &Arc<Self>,
    ) -> Result<(Option<HeaderValue>, Stamp), BackendError> {
        let (origin, generation) = self.credentials.origin();
        let (using, stamp) = {
            let mut state = self.state.lock();
            if state.generation != generation {
                state.set(Using::Nothing, generation);
            }
            if let (Using::Nothing, Origin::Given(Credential::Bearer(token))) =
                (&state.using, &origin)
            {
                let header = bearer(token).map_err(|error| self.error(error))?;
                state.set(Using::Header(header), generation);
            }
            (state.using.clone(), Stamp(state.stamp))
        };
        let (realm, token) = match using {
            Using::Nothing => return Ok((None, stamp)),
            Using::Header(header) => return Ok((Some(header), stamp)),
            Using::Token(realm, token) => (realm, token),
        };
        let now = Instant::now();
        if now >= token.expires {
            self.renew(Challenge::Bearer(realm), stamp).await?;
            return Ok(self.as_it_is());
        }
        if now >= token.renew && !std::mem::replace(&mut self.state.lock().renewing, true) {
            let auth = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = auth.renew(Challenge::Bearer(realm), stamp).await {
                    log::warn!("The token stays in use until it expires: {error}");
                }
                auth.state.lock().renewing = false;
            });
        }
        let header = bearer(&token.text).map_err(|error| self.error(error))?;
        Ok((Some(header), stamp))
    }

    /// Meets the demand of an answer with status 401 to a request that was
    /// authorised with `stamp`.
    pub(super) async fn challenged(
        &self,
        headers: &HeaderMap,
        stamp: Stamp,
    ) -> Result<(), BackendError> {
        let Some(challenge) = Challenge::of(headers) else {
            let reason = "it demands a kind of authentication that is not supported";
            return Err(self.error(NoToken::new(reason)));
        };
        self.renew(challenge, stamp).await
    }

    /// What is in use, without a look at the clock.
    fn as_it_is(&self) -> (Option<HeaderValue>, Stamp) {
        let state = self.state.lock();
        let header = match &state.using {
            Using::Nothing => None,
            Using::Header(header) => Some(header.clone()),
            Using::Token(_, token) => bearer(&token.text).ok(),
        };
        (header, Stamp(state.stamp))
    }

    async fn renew(&self, challenge: Challenge, stamp: Stamp) -> Result<(), BackendError> {
        let came = Instant::now();
        let _turn = self.turn.lock().await;
        {
            let state = self.state.lock();
            if Stamp(state.stamp) != stamp {
                return Ok(());
            }
            if let Some((when, error)) = &state.failed
                && *when >= came
            {
                return Err(self.error(error.clone()));
            }
        }
        let (origin, generation) = self.credentials.origin();
        let met = self.meet(challenge, origin).await;
        let mut state = self.state.lock();
        match met {
            Ok(using) => {
                state.set(using, generation);
                state.failed = None;
                Ok(())
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(self.error(error))
            }
        }
    }

    async fn meet(&self, challenge: Challenge, origin: Origin) -> Result<Using, NoToken> {
        let credential = match origin {
            Origin::Anonymous => None,
            Origin::Given(credential) => Some(credential),
            Origin::Docker(file) => docker::look_up(&file, self.host()).await?,
        };
        match (challenge, credential) {
            (_, Some(Credential::Bearer(token))) => {
                let refused = matches!(self.state.lock().using, Using::Header(_));
                if refused {
                    return Err(NoToken::new(
                        "it refused the given token; replace the token",
                    ));
                }
                Ok(Using::Header(bearer(&token)?))
            }
            (Challenge::Basic, Some(Credential::Basic { user, password })) => {
                Ok(Using::Header(basic(&user, &password)?))
            }
            (Challenge::Basic, Some(Credential::Identity(_))) => Err(NoToken::new(
                "it demands a user and password and there is an identity token only",
            )),
            (Challenge::Basic, None) => Err(NoToken::new(
                "it demands a user and password; configure them",
            )),
            (Challenge::Bearer(mut realm), credential) => {
                if realm.scopes.is_empty() {
                    realm.scopes.push(format!("repository:{}:pull", self.repo));
                }
                self.grants.widen(&self.repo, &mut realm.scopes);
                let bare = realm.realm.starts_with("http://");
                if bare && self.home.scheme() == "https" && credential.is_some() {
                    return Err(NoToken::new(
                        "its token server would get the credentials without TLS",
                    ));
                }
                let token = fetch(&self.client, &realm, credential.as_ref()).await?;
                Ok(Using::Token(realm, token))
            }
        }
    }

    /// Host, and port if it is not the scheme's.
    fn host(&self) -> &str {
        let url = self.home.as_str();
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        host.split('/').next().unwrap_or_default()
    }

    fn error(&self, NoToken { reason, passing }: NoToken) -> BackendError {
        BackendError::Credentials {
            source_name: self.source_name.clone(),
            reason,
            passing,
        }
    }
}

impl State {
    fn set(&mut self, using: Using, generation: u64) {
        self.using = using;
        self.generation = generation;
        self.stamp = self.stamp.wrapping_add(1);
    }
}
