//! `/api/v1/config`: credentials that are replaced while they are used.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::answer::{Refusal, json, read};
use super::daemon::{Daemon, Instance};
use super::nydusd::find;
use crate::backend::registry::credentials::Credential;
use crate::backend::secret::Secret;

/// nydusd's keys.
const REGISTRY_AUTH: &str = "registry_auth";
const PROXY_URL: &str = "proxy_url";
const SCHEDULER: &str = "dragonfly_scheduler_endpoint";

/// What is shown in place of a secret.
const HIDDEN: &str = "***";

#[derive(Deserialize)]
pub(super) struct Id {
    id: Option<String>,
}

/// The keys, each secret as `***`.
pub(super) async fn show(
    State(daemon): State<Arc<Daemon>>,
    id: Result<Query<Id>, QueryRejection>,
) -> Result<Response, Refusal> {
    let instance = instance(&daemon, id)?;
    let proxy = proxy(&instance);
    let known = instance
        .registries
        .iter()
        .any(|registry| !registry.is_anonymous());
    let keys = BTreeMap::from([
        (REGISTRY_AUTH, if known { HIDDEN } else { "" }),
        (PROXY_URL, proxy.as_str()),
        (SCHEDULER, ""),
    ]);
    Ok(json(&keys))
}

/// Replaces what the body names. All of it, or nothing when anything is wrong.
pub(super) async fn replace(
    State(daemon): State<Arc<Daemon>>,
    id: Result<Query<Id>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let instance = instance(&daemon, id)?;
    let keys: BTreeMap<String, Secret> = read(body)?;
    let mut auth = None;
    for (key, value) in &keys {
        match key.as_str() {
            REGISTRY_AUTH => auth = Some(credential(value)?),
            PROXY_URL if value.reveal() == proxy(&instance) => {}
            SCHEDULER if value.is_empty() => {}
            PROXY_URL | SCHEDULER => {
                return Err(Refusal::unsupported(format_args!(
                    "{key} cannot be changed while the daemon runs"
                )));
            }
            _ => return Err(Refusal::bad(format_args!("Key {key} is not known"))),
        }
    }
    if let Some(credential) = auth {
        if instance.registries.is_empty() {
            return Err(Refusal::bad("No registry is configured"));
        }
        for registry in &instance.registries {
            registry.replace(credential.clone());
        }
        log::info!("The registry's credential was replaced");
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn instance(
    daemon: &Daemon,
    id: Result<Query<Id>, QueryRejection>,
) -> Result<Arc<Instance>, Refusal> {
    let Query(Id { id }) = id.map_err(|_| Refusal::bad("The query makes no sense"))?;
    find(daemon, id.as_deref())
}

/// The credential of `registry_auth`; empty text is nobody.
fn credential(value: &Secret) -> Result<Option<Credential>, Refusal> {
    if value.is_empty() {
        return Ok(None);
    }
    let credential = Credential::from_auth(value.reveal());
    credential
        .map(Some)
        .map_err(|_| Refusal::bad("registry_auth is not the base64 of user:password"))
}

/// The first proxy, without what may be secret in its URL.
fn proxy(instance: &Instance) -> String {
    let mut urls = instance.sources.iter().filter_map(|source| {
        let url = source.config.get("proxy")?.get("url")?.as_str()?;
        Some(url.to_owned())
    });
    urls.next().unwrap_or_default()
}
