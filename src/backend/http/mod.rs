//! One layer for ranged GETs, which every remote source uses, and the source
//! for blobs behind a plain web server.
//!
//! A source that is asked with one signed request per range implements
//! [`Target`]: it builds requests and says what a refusal means.
//! [`Ranged`] makes a [`Backend`](super::Backend) of it: it sends the request,
//! through the proxy if there is one, checks status, Content-Range and lengths,
//! watches the clock and streams the body.
//!
//! ```text
//! Ranged<Target> ─► Client::ask(Request) ─► Answer ─► Answer::into_body ─► Body
//! ```
//!
//! A source with a dialogue of its own (tokens, redirects) is a `Backend` that
//! calls [`Client::ask`] as often as it needs and ends with
//! [`Answer::into_body`].
//!
//! May use: the words of `backend`. Used by: the remote sources beside it.

mod answer;
mod body;
mod client;
mod lane;
mod options;
mod plain;
pub mod proxy;
mod ranged;
mod redirect;
mod request;
pub mod url;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_proxy;
#[cfg(test)]
mod tests_redirect;

pub use answer::{Answer, Refusal};
pub use client::{Allowance, Called, Client};
pub use options::{Headers, Transport, headers_from_env};
pub use plain::{Http, Options};
pub use ranged::{Ranged, Reaction, Target};
pub use redirect::{Follow, Redirects};
pub use request::Request;

/// Slowest pace that a source may deliver at, in bytes per second, once
/// [`Transport::timeout`] has passed.
pub const SLOWEST: u64 = 64 << 10;

/// Most bytes of a refusal's body that are looked at.
const REFUSAL_BYTES: usize = 16 << 10;
