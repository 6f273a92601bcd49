//! Answers with nydusd's names and shapes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, Refusal};
use super::daemon::{Daemon, Instance, State as Progress};
use crate::fuse::stats::OPERATIONS;
use crate::version;

/// Time for the answer to leave before the process ends.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Operations that nydusd counts: all of ours but `other`.
const FOPS: usize = OPERATIONS.len() - 1;

#[derive(Deserialize)]
pub(super) struct Id {
    id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Mountpoint {
    mountpoint: Option<String>,
}

type Asked<T> = Result<Query<T>, QueryRejection>;

/// The instance that a request is about.
pub(super) fn find(daemon: &Daemon, id: Option<&str>) -> Result<Arc<Instance>, Refusal> {
    daemon.instance(id).ok_or_else(|| match id {
        Some(id) => Refusal::missing(format_args!("Nothing is served at {id}")),
        None => Refusal::missing("There is not exactly one image: name it with ?id="),
    })
}

fn asked<T>(query: Asked<T>) -> Result<T, Refusal> {
    let query = query.map_err(|_| Refusal::bad("The query makes no sense"))?;
    Ok(query.0)
}

/// `GET /api/v1/daemon`
pub(super) async fn daemon(State(daemon): State<Arc<Daemon>>) -> Response {
    let mut backends: BTreeMap<String, Value> = daemon
        .instances()
        .into_iter()
        .map(|(mountpoint, instance)| {
            // nydusd has one; the last is the origin.
            let source = instance.sources.last();
            let mounted = humantime::format_rfc3339_micros(instance.mounted).to_string();
            let shown = json!({
                "backend_type": source.map_or("", |source| source.kind),
                "mountpoint": mountpoint,
                "mounted_time": mounted,
                "config": source.map_or(&Value::Null, |source| &source.config),
            });
            (mountpoint, shown)
        })
        .collect();
    for (mountpoint, directory) in daemon.directories() {
        let mounted = humantime::format_rfc3339_micros(directory.mounted).to_string();
        let shown = json!({
            "backend_type": "PassthroughFs",
            "mountpoint": mountpoint,
            "mounted_time": mounted,
            "config": null,
        });
        backends.insert(mountpoint, shown);
    }
    let mut shown = about(&daemon);
    shown["backend_collection"] = json!(backends);
    answer::json(&shown)
}

/// `GET /api/v2/daemon`
pub(super) async fn daemon_v2(State(daemon): State<Arc<Daemon>>) -> Response {
    answer::json(&about(&daemon))
}

/// Version, name and state. Clients want all five texts of the version.
fn about(daemon: &Daemon) -> Value {
    json!({
        "version": {
            "package_ver": version::VERSION,
            "git_commit": version::COMMIT,
            "build_time": "",
            "profile": version::PROFILE,
            "rustc": "",
        },
        "id": daemon.id,
        "supervisor": null,
        "state": daemon.state().name(),
    })
}

/// `PUT /api/v1/daemon`
pub(super) async fn set_log_level(
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        log_level: String,
    }
    let Body { log_level } = answer::read(body)?;
    let level = log_level.parse::<log::LevelFilter>();
    let level =
        level.map_err(|_| Refusal::bad("log_level is off, error, warn, info, debug or trace"))?;
    log::set_max_level(level);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `PUT /api/v1/daemon/exit`
pub(super) async fn exit(State(daemon): State<Arc<Daemon>>) -> Response {
    tokio::spawn(async move {
        tokio::time::sleep(LAST_WORDS).await;
        daemon.exit();
    });
    StatusCode::NO_CONTENT.into_response()
}

/// `PUT /api/v1/daemon/start`: a daemon starts by itself, so this asks for what
/// is or will be.
pub(super) async fn start(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refusal> {
    match daemon.state() {
        Progress::Stopped => Err(Refusal::bad("The daemon is ending")),
        Progress::Init | Progress::Ready | Progress::Running => {
            Ok(StatusCode::NO_CONTENT.into_response())
        }
    }
}

/// `PUT /api/v1/daemon/fuse/sendfd` and `/takeover`
pub(super) async fn hand_over() -> Refusal {
    Refusal::unsupported("A running mount cannot be handed from one daemon to another")
}

/// `GET /api/v1/metrics/inflight`: 204 is nydusd's answer when nothing is under
/// way.
pub(super) async fn inflight() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// `GET /api/v1/metrics/files` and `/pattern`
pub(super) async fn not_recorded() -> Refusal {
    Refusal::unsupported(
        "Files are not counted one by one; see --record-trace for what is read first",
    )
}

/// `GET /api/v1/daemon/events`
pub(super) async fn events(State(daemon): State<Arc<Daemon>>) -> Response {
    answer::json(&daemon.events.snapshot())
}

/// `GET /api/v1/daemon/backend?mountpoint=`
pub(super) async fn backend(
    State(daemon): State<Arc<Daemon>>,
    query: Asked<Mountpoint>,
) -> Result<Response, Refusal> {
    let Mountpoint { mountpoint } = asked(query)?;
    let mountpoint = mountpoint.ok_or_else(|| Refusal::bad("mountpoint= is missing"))?;
    let image = Arc::clone(&find(&daemon, Some(&mountpoint))?.image);
    let summary = image.summary();
    Ok(answer::json(&json!({
        "chunk_size": summary.chunk_size,
        "root_inode": image.root().nid,
        "digester": format!("{:?}", summary.algorithm),
        "blobs": image.blobs().len(),
        "root": image.root_digest().map(|root| format!("sha256:{root}")),
        "pinned": image.pinned(),
    })))
}

/// `GET /api/v1/metrics`
pub(super) async fn fs_metrics(
    State(daemon): State<Arc<Daemon>>,
    query: Asked<Id>,
) -> Result<Response, Refusal> {
    let Id { id } = asked(query)?;
    let directory = id.as_deref().and_then(|id| daemon.directory(id));
    let stats = match directory {
        Some(directory) => directory.stats.snapshot(),
        None => find(&daemon, id.as_deref())?.stats.snapshot(),
    };
    let micros = stats.nanos.map(|nanos| nanos / 1000);
    Ok(answer::json(&json!({
        "files_account_enabled": false,
        "access_pattern_enabled": false,
        "record_latest_read_files_enabled": false,
        "measure_latency": true,
        "id": id.unwrap_or_else(|| "/".to_owned()),
        "nr_opens": stats.requests[2],
        "data_read": stats.read_bytes,
        "block_count_read": stats.read_sizes,
        "fop_hits": stats.requests[..FOPS],
        "fop_errors": stats.errors[..FOPS],
        "fop_cumulative_latency_total": micros[..FOPS],
        "read_latency_dist": stats.read_latencies,
    })))
}

/// `GET /api/v1/metrics/backend`
pub(super) async fn backend_metrics(
    State(daemon): State<Arc<Daemon>>,
    query: Asked<Id>,
) -> Result<Response, Refusal> {
    let Id { id } = asked(query)?;
    let instance = find(&daemon, id.as_deref())?;
    let counters = instance.store.counters().snapshot();
    let kind = instance.sources.last().map_or("", |source| source.kind);
    let none = [0; 8];
    Ok(answer::json(&json!({
        "id": id.unwrap_or_else(|| "/".to_owned()),
        "backend_type": kind,
        "read_count": counters.fetches,
        "read_errors": counters.fetch_errors,
        "read_amount_total": counters.fetched_bytes,
        "read_cumulative_latency_millis_total": 0,
        "read_cumulative_latency_millis_dist": none,
        "read_count_block_size_dist": none,
        "read_latency_sizes_dist": vec![none; 8],
    })))
}

/// `GET /api/v1/metrics/blobcache`
pub(super) async fn cache_metrics(
    State(daemon): State<Arc<Daemon>>,
    query: Asked<Id>,
) -> Result<Response, Refusal> {
    let Id { id } = asked(query)?;
    let instance = find(&daemon, id.as_deref())?;
    let counters = instance.store.counters().snapshot();
    let progress = instance.prefetch.snapshot();
    let cache = instance.cache.as_ref();
    let store_path = cache.map(|dir| dir.display().to_string());
    Ok(answer::json(&json!({
        "id": id.unwrap_or_else(|| "/".to_owned()),
        "underlying_files": instance.image.blobs().iter().map(|blob| &blob.id).collect::<Vec<_>>(),
        "store_path": store_path.unwrap_or_default(),
        "partial_hits": 0,
        "whole_hits": counters.hits,
        "total": counters.hits.saturating_add(counters.misses),
        "entries_count": counters.fetched_chunks.saturating_add(counters.copied_chunks),
        "prefetch_data_amount": progress.bytes,
        "prefetch_requests_count": progress.done,
        "prefetch_workers": 0,
        "prefetch_unmerged_chunks": progress.done,
        "prefetch_cumulative_time_millis": 0,
        "prefetch_begin_time_secs": 0,
        "prefetch_begin_time_millis": 0,
        "prefetch_end_time_secs": 0,
        "prefetch_end_time_millis": 0,
        "buffered_backend_size": 0,
        "data_all_ready": progress.complete,
    })))
}
