//! Sources that are asked with one request per range.

use futures_util::future::BoxFuture;

use super::{Client, Refusal, Request, Transport};
use crate::backend::{Backend, BackendError, BlobRange, Opening};

/// What is special about a source: how a request for a range looks.
pub trait Target: Send + Sync + 'static {
    /// What the source is, for messages, without secrets: `bucket b of
    /// https://s3.example.com`.
    fn describe(&self) -> String;

    /// The request for a range: build it with [`Request::get`], then add headers
    /// or sign it. Extra headers of the configuration and of proxies are added
    /// after that, so they are not signed. Called anew for each try.
    ///
    /// # Errors
    /// [`BackendError::BadId`] for an id that cannot be part of a URL (see
    /// [`BlobRange::checked_id`]); [`BackendError::Credentials`] when there is
    /// nothing to sign with.
    fn request<'a>(&'a self, range: BlobRange<'a>) -> BoxFuture<'a, Result<Request, BackendError>>;

    /// What an answer that is no success means. Statuses are classified by
    /// [`BackendError::Refused`] already; this is for what the source alone
    /// understands, such as a code in the body or an expired signature.
    fn refused(&self, refusal: &Refusal) -> Reaction {
        let _ = refusal;
        Reaction::Fail(None)
    }
}

/// What to do about a refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reaction {
    /// Give up; the text, if any, is the source's code for the reason and
    /// becomes part of the error, so it must hold no secrets.
    Fail(Option<String>),
    /// The target has learned something: build the request anew. Heeded once
    /// per range.
    Again,
}

/// A [`Target`] as a backend.
pub struct Ranged<T> {
    target: T,
    client: Client,
}

impl<T: Target> Ranged<T> {
    /// A backend that reaches `target` as `transport` says.
    ///
    /// # Errors
    /// When a CA file cannot be read or the client cannot be set up.
    pub fn new(target: T, transport: &Transport) -> Result<Self, BackendError> {
        let client = Client::new(&target.describe(), transport)?;
        Ok(Self { target, client })
    }
}

impl<T: Target> Backend for Ranged<T> {
    fn open<'a>(&'a self, range: BlobRange<'a>) -> Opening<'a> {
        Box::pin(async move {
            let mut again = true;
            loop {
                let request = self.target.request(range).await?;
                let answer = self.client.ask(request, range).await?;
                if answer.is_success() {
                    return answer.into_body(range);
                }
                let refusal = answer.into_refusal().await;
                match self.target.refused(&refusal) {
                    Reaction::Again if again => again = false,
                    Reaction::Again => return Err(refusal.error(None)),
                    Reaction::Fail(explanation) => return Err(refusal.error(explanation)),
                }
            }
        })
    }

    fn describe(&self) -> String {
        self.target.describe()
    }
}
