//! Which path is answered by what. Further endpoints are lines here.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use super::answer::Refusal;
use super::daemon::Daemon;
use super::{credentials, info, metrics, mounts, nydusd};

/// Longest body of a request, in bytes.
const BODY_MAX: usize = 1 << 20;

/// Longest body of a mount, which holds a configuration and a list of files.
const MOUNT_MAX: usize = 16 << 20;

/// What a collector of metrics must be told to parse.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything, for the Unix socket.
pub(super) fn api(daemon: Arc<Daemon>) -> Router {
    let routes = Router::new()
        .route("/metrics", get(prometheus))
        .route(
            "/api/v1/daemon",
            get(nydusd::daemon).put(nydusd::set_log_level),
        )
        .route(
            "/api/v2/daemon",
            get(nydusd::daemon_v2).put(nydusd::set_log_level),
        )
        .route("/api/v1/daemon/exit", put(nydusd::exit))
        .route("/api/v1/daemon/start", put(nydusd::start))
        .route("/api/v1/daemon/fuse/sendfd", put(nydusd::hand_over))
        .route("/api/v1/daemon/fuse/takeover", put(nydusd::hand_over))
        .route("/api/v1/daemon/events", get(nydusd::events))
        .route("/api/v1/daemon/backend", get(nydusd::backend))
        .route(
            "/api/v1/mount",
            post(mounts::mount)
                .put(mounts::remount)
                .delete(mounts::unmount)
                .layer(DefaultBodyLimit::max(MOUNT_MAX)),
        )
        .route("/api/v1/metrics", get(nydusd::fs_metrics))
        .route("/api/v1/metrics/inflight", get(nydusd::inflight))
        .route("/api/v1/metrics/files", get(nydusd::not_recorded))
        .route("/api/v1/metrics/pattern", get(nydusd::not_recorded))
        .route("/api/v1/metrics/backend", get(nydusd::backend_metrics))
        .route("/api/v1/metrics/blobcache", get(nydusd::cache_metrics))
        .route(
            "/api/v1/config",
            get(credentials::show).put(credentials::replace),
        )
        .route("/api/v1/tidegate/info", get(info::info));
    closed(routes, daemon)
}

/// The metrics alone, for TCP, which anybody may ask.
pub(super) fn metrics(daemon: Arc<Daemon>) -> Router {
    closed(Router::new().route("/metrics", get(prometheus)), daemon)
}

fn closed(routes: Router<Arc<Daemon>>, daemon: Arc<Daemon>) -> Router {
    routes
        .fallback(|uri: Uri| async move {
            Refusal::missing(format_args!("There is nothing at {}", uri.path()))
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            let message = format!("{method} is not possible at {}", uri.path());
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message)
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(daemon)
}

async fn prometheus(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refusal> {
    // The use of the cache is read from its disk.
    let text = crate::runtime::blocking(move || metrics::encode(&daemon)).await;
    match text {
        Ok(Ok(text)) => Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()),
        _ => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The metrics cannot be written down",
        )),
    }
}
