//! From a request to its answer.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderName, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

use super::body::{Step, Steps};
use super::connection::Connection;
use super::control;
use super::counts::{Entry, Ticket};
use super::fault;
use super::links::Link;
use super::server::State;
use super::settings::{On, What};
use super::target::Target;
use super::{auth, blob, timer};

/// What an answer is made from.
pub(super) struct Asked<'a> {
    pub(super) state: &'a State,
    pub(super) connection: &'a Connection,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    query: String,
}

pub(super) type Reply = Response<Steps>;

/// Answers one request; an error closes the connection.
pub(super) async fn answer(
    state: Arc<State>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> io::Result<Response<http_body_util::Either<Full<Bytes>, Steps>>> {
    use http_body_util::Either;

    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let target = Target::parse(&path);
    let form = match head.method {
        Method::POST | Method::PUT => {
            Some(body.collect().await.map_err(io::Error::other)?.to_bytes())
        }
        _ => None,
    };
    // The answer before this one has been sent.
    connection.ending.lock().take();
    let is_control = target == Target::Control;
    connection.free.store(is_control, Ordering::Relaxed);
    if is_control {
        let answer = control::answer(&state, &head.method, &path, &form.unwrap_or_default());
        return Ok(answer.map(Either::Left));
    }
    let asked = Asked {
        state: &state,
        connection: &connection,
        method: head.method,
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
    };
    let mut ticket = state.counts.begin(asked.entry(&path, &target));
    if asked.method == Method::GET && target.blob().is_some() {
        ticket.flies();
    }
    asked.travel().await?;
    let reply = asked.reply(&target, form.as_deref(), ticket).await?;
    Ok(reply.map(Either::Right))
}

impl Asked<'_> {
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn entry(&self, path: &str, target: &Target) -> Entry {
        let others = self
            .headers
            .iter()
            .filter(|(name, _)| *name != AUTHORIZATION);
        Entry {
            method: self.method.to_string(),
            kind: target.kind().into(),
            path: path.to_owned(),
            blob: target.blob().unwrap_or_default().to_owned(),
            authorization: self
                .header(AUTHORIZATION)
                .and_then(|text| text.split(' ').next())
                .map(str::to_owned),
            headers: others
                .map(|(name, value)| {
                    (
                        name.to_string(),
                        String::from_utf8_lossy(value.as_bytes()).into_owned(),
                    )
                })
                .collect(),
            ..Entry::default()
        }
    }

    /// The way there and back.
    async fn travel(&self) -> io::Result<()> {
        let settings = self.state.settings();
        let jitter = if settings.jitter_ms > 0.0 {
            settings.jitter_ms * self.state.faults.fraction()
        } else {
            0.0
        };
        let connect = match self.connection.fresh.swap(false, Ordering::Relaxed) {
            true => settings.connect_ms,
            false => 0.0,
        };
        timer::until(Instant::now() + timer::millis(settings.rtt_ms + jitter + connect)).await
    }

    async fn reply(
        &self,
        target: &Target,
        form: Option<&[u8]>,
        ticket: Ticket,
    ) -> io::Result<Reply> {
        let at_entry = match target {
            Target::Blob { .. } => On::Entry,
            Target::Link(_) => On::Link,
            Target::Token => On::Token,
            Target::Manifest { .. } => On::Manifest,
            Target::Ping | Target::Control | Target::Unknown => return self.plain(target, ticket),
        };
        if let Some(what) = self.state.faults.pick(at_entry) {
            note(&ticket, &what);
            match &what {
                What::Status {
                    status,
                    retry_after,
                } => {
                    return self.failed(*status, retry_after.as_deref(), ticket);
                }
                What::Close | What::Reset => {
                    let reset = matches!(what, What::Reset);
                    self.connection.reset.store(reset, Ordering::Relaxed);
                    return Err(io::Error::other("a fault that was asked for"));
                }
                What::Hang | What::HangMidway => return Ok(never().await),
                // The others need the bytes of a blob.
                _ => {}
            }
        }
        match target {
            Target::Blob { repository, id } => match repository {
                Some(repository) if !self.is_welcome() => self.unauthorized(repository, ticket),
                _ => self.blob_or_redirect(id, ticket).await,
            },
            Target::Link(id) => self.follow(id, ticket).await,
            Target::Token => self.token(form, ticket),
            Target::Manifest { repository, .. } if !self.is_welcome() => {
                self.unauthorized(repository, ticket)
            }
            _ => self.plain(target, ticket),
        }
    }

    fn is_welcome(&self) -> bool {
        let settings = self.state.settings();
        self.state
            .tokens
            .accepts(&settings.auth, self.header(AUTHORIZATION))
    }

    async fn blob_or_redirect(&self, id: &str, ticket: Ticket) -> io::Result<Reply> {
        let settings = self.state.settings();
        match &settings.redirect {
            Some(redirect) if redirect.hops > 0 => self.redirected(id, redirect.hops - 1, ticket),
            _ => blob::serve(self, id, ticket).await,
        }
    }

    async fn follow(&self, id: &str, ticket: Ticket) -> io::Result<Reply> {
        let other_origin = self.connection.second_port;
        if other_origin && self.headers.contains_key(AUTHORIZATION) {
            ticket.note(|counts, _| counts.leaked_authorization += 1);
            return self.failed(400, None, ticket);
        }
        match self.state.links.read(id, &self.query) {
            Link::Here => blob::serve(self, id, ticket).await,
            Link::On(left) => self.redirected(id, left - 1, ticket),
            Link::Dead => self.failed(403, None, ticket),
        }
    }

    fn redirected(&self, id: &str, left: u32, ticket: Ticket) -> io::Result<Reply> {
        let settings = self.state.settings();
        let redirect = settings.redirect.clone().unwrap_or_default();
        let location = self
            .state
            .links
            .location(id, left, &redirect, &self.state.addresses);
        ticket.note(|counts, entry| {
            counts.redirects += 1;
            entry.kind = "redirect".into();
        });
        self.small(307, "", &[(LOCATION, location)], ticket)
    }

    fn unauthorized(&self, repository: &str, ticket: Ticket) -> io::Result<Reply> {
        let base = format!("http://{}", self.state.addresses[0]);
        let challenge = auth::challenge(&self.state.settings().auth, &base, repository);
        let headers: Vec<_> = challenge
            .into_iter()
            .map(|text| (WWW_AUTHENTICATE, text))
            .collect();
        self.small(
            401,
            r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#,
            &headers,
            ticket,
        )
    }

    fn token(&self, form: Option<&[u8]>, ticket: Ticket) -> io::Result<Reply> {
        ticket.note(|counts, _| counts.token_requests += 1);
        let (settings, id) = (self.state.settings(), self.state.faults.number());
        let header = self.header(AUTHORIZATION);
        let grant = self.state.tokens.grant(&settings.auth, header, form, id);
        let json = [(CONTENT_TYPE, "application/json".to_owned())];
        self.small(grant.status, &grant.body, &json, ticket)
    }

    fn plain(&self, target: &Target, ticket: Ticket) -> io::Result<Reply> {
        match target {
            Target::Ping if self.is_welcome() => self.small(200, "{}", &[], ticket),
            Target::Ping => self.unauthorized("", ticket),
            Target::Manifest { name, .. } => blob::manifest(self, name, ticket),
            _ => self.failed(404, None, ticket),
        }
    }

    /// An answer that says what is wrong.
    pub(super) fn failed(
        &self,
        status: u16,
        retry: Option<&str>,
        ticket: Ticket,
    ) -> io::Result<Reply> {
        let headers: Vec<_> = retry
            .into_iter()
            .map(|when| (RETRY_AFTER, when.to_owned()))
            .collect();
        let body = format!(r#"{{"errors":[{{"code":"TEST","message":"status {status}"}}]}}"#);
        self.small(status, &body, &headers, ticket)
    }

    pub(super) fn small(
        &self,
        status: u16,
        body: &str,
        headers: &[(HeaderName, String)],
        ticket: Ticket,
    ) -> io::Result<Reply> {
        ticket.note(|_, entry| entry.status = status);
        let steps = match self.method {
            Method::HEAD => Vec::new(),
            _ => vec![Step::Data(Bytes::copy_from_slice(body.as_bytes()))],
        };
        let steps = Steps::new(steps, false, self.connection, ticket);
        let mut reply =
            Response::builder().status(StatusCode::from_u16(status).map_err(io::Error::other)?);
        for (name, value) in headers {
            reply = reply.header(name, value);
        }
        reply.body(steps).map_err(io::Error::other)
    }

    pub(super) fn range(&self) -> Option<&str> {
        self.header(RANGE)
    }
}

/// Writes down which fault is done.
pub(super) fn note(ticket: &Ticket, what: &What) {
    let name = fault::name(what);
    ticket.note(|counts, entry| {
        *counts.faults.entry(name.into()).or_default() += 1;
        entry.fault = Some(name.into());
    });
}

/// Waits until the client leaves; hyper drops the future then.
pub(super) async fn never() -> Reply {
    std::future::pending().await
}
