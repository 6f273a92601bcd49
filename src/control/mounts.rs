//! `/api/v1/mount`: mounts that come, are replaced and go.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::answer::{Refusal, read};
use super::daemon::Daemon;
use crate::backend::secret::Secret;

/// Most mounts that are being made at once; a disk that hangs must not take all
/// threads that read.
const AT_ONCE: usize = 32;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// What is to be mounted, in nydusd's words.
#[derive(Debug, Default, Deserialize)]
pub struct MountRequest {
    /// `rafs`, or `passthrough_fs`.
    pub fs_type: String,
    /// Path of the bootstrap, or of a directory.
    pub source: String,
    /// The configuration, as text; it may hold credentials.
    #[serde(default)]
    pub config: Secret,
    /// Absolute paths to fetch first.
    #[serde(default)]
    pub prefetch_files: Option<Vec<String>>,
}

/// Why a mount is not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountRefusal {
    /// What is asked for makes no sense.
    #[error("{0}")]
    Senseless(String),
    /// It cannot be done; with its causes.
    #[error("{0}")]
    Failed(String),
}

/// Makes and removes mounts. Calls may wait for disks, never for a network.
pub trait Mounts: Send + Sync {
    /// Mounts at `mountpoint`, or replaces what is mounted there.
    ///
    /// # Errors
    /// When the place is taken (or, to replace, is empty), or the request cannot
    /// be met.
    fn mount(
        &self,
        mountpoint: &str,
        request: &MountRequest,
        replace: bool,
    ) -> Result<(), MountRefusal>;

    /// Removes what is mounted at `mountpoint` or about to be. False when there
    /// is nothing.
    ///
    /// # Errors
    /// When the mountpoint makes no sense.
    fn unmount(&self, mountpoint: &str) -> Result<bool, MountRefusal>;
}

impl From<MountRefusal> for Refusal {
    fn from(refusal: MountRefusal) -> Self {
        let status = match refusal {
            MountRefusal::Senseless(_) => StatusCode::BAD_REQUEST,
            MountRefusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, refusal)
    }
}

/// `POST /api/v1/mount?mountpoint=`
pub(super) async fn mount(
    State(daemon): State<Arc<Daemon>>,
    RawQuery(query): RawQuery,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    change(&daemon, query.as_deref(), body, false).await
}

/// `PUT /api/v1/mount?mountpoint=`
pub(super) async fn remount(
    State(daemon): State<Arc<Daemon>>,
    RawQuery(query): RawQuery,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    change(&daemon, query.as_deref(), body, true).await
}

/// `DELETE /api/v1/mount?mountpoint=`. To remove what is not there succeeds:
/// the runtime asks from several places.
pub(super) async fn unmount(
    State(daemon): State<Arc<Daemon>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let mountpoint = mountpoint(query.as_deref())?;
    let mounts = mounts(&daemon)?;
    let work = move || mounts.unmount(&mountpoint);
    let removed = crate::runtime::blocking(work).await;
    removed.map_err(|_| ending())??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn change(
    daemon: &Daemon,
    query: Option<&str>,
    body: Result<Bytes, BytesRejection>,
    replace: bool,
) -> Result<Response, Refusal> {
    let mountpoint = mountpoint(query)?;
    let request: MountRequest = read(body)?;
    let mounts = mounts(daemon)?;
    let turn = TURNS.acquire().await.map_err(|_| ending())?;
    let work = move || {
        let _turn = turn;
        mounts.mount(&mountpoint, &request, replace)
    };
    let mounted = crate::runtime::blocking(work).await;
    mounted.map_err(|_| ending())??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn mounts(daemon: &Daemon) -> Result<Arc<dyn Mounts>, Refusal> {
    let mounts = daemon.mounts();
    mounts.ok_or_else(|| Refusal::unsupported("This daemon serves one image and mounts no other"))
}

fn ending() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The daemon is ending")
}

/// The mountpoint that a query names. Clients send it as it is or
/// percent-encoded; `+` is no blank to any of them.
fn mountpoint(query: Option<&str>) -> Result<String, Refusal> {
    let mut pairs = query.unwrap_or_default().split('&');
    let value = pairs.find_map(|pair| pair.strip_prefix("mountpoint="));
    let value = value.filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| Refusal::bad("mountpoint= is missing"))?;
    let text = percent_decode_str(value).decode_utf8();
    let text = text.map_err(|_| Refusal::bad("mountpoint= is not UTF-8"))?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountpoints_are_read_as_both_runtimes_send_them() {
        for (query, wanted) in [
            ("mountpoint=/rafs/a+b-1/lowerdir", "/rafs/a+b-1/lowerdir"),
            ("mountpoint=%2Fcontainers", "/containers"),
            ("x=1&mountpoint=/%C3%BC&y", "/ü"),
        ] {
            assert_eq!(mountpoint(Some(query)).unwrap(), wanted);
        }
        for query in [None, Some(""), Some("mountpoint="), Some("mountpoint=%ff")] {
            assert!(mountpoint(query).is_err(), "{query:?}");
        }
    }

    #[test]
    fn requests_do_not_show_their_configuration() {
        let text = r#"{"fs_type":"rafs","source":"/b","config":"hunter2","overlay":null}"#;
        let request: MountRequest = serde_json::from_str(text).unwrap();
        assert_eq!(request.config.reveal(), "hunter2");
        assert!(!format!("{request:?}").contains("hunter2"));
    }
}
