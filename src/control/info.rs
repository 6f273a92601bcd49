//! `GET /api/v1/tidegate/info`: what nydusd has no words for.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use super::answer::{Refusal, json};
use super::daemon::{Daemon, Directory, Instance};
use crate::backend::sources::SourceFigures;
use crate::prefetch::ProgressSnapshot;
use crate::sandbox::Report;
use crate::store::{LinkFigures, Snapshot};

#[derive(Serialize)]
struct Info {
    version: &'static str,
    id: Option<String>,
    /// None without `--state`.
    state: Option<StateInfo>,
    /// What the process may not do.
    sandbox: Option<Report>,
    instances: BTreeMap<String, Served>,
    directories: BTreeMap<String, DirectoryInfo>,
}

#[derive(Serialize)]
struct DirectoryInfo {
    source: String,
    cache: String,
    xattr: bool,
    posix_acl: bool,
    announce_submounts: bool,
    read_only: bool,
    mounted_at: String,
    /// Files and directories that the guest knows, and has open.
    nodes: usize,
    open: usize,
}

#[derive(Serialize)]
struct StateInfo {
    dir: String,
    /// How often a daemon went on where another was killed.
    restored: u64,
    /// Mountpoints of what could not be brought back the last time.
    lost: Vec<String>,
    /// Changes that could not be written down.
    failures: u64,
}

#[derive(Serialize)]
struct Served {
    bootstrap: String,
    root: Option<String>,
    pinned: bool,
    verify: String,
    mounted_at: String,
    sources: Vec<SourceInfo>,
    cache: Cache,
    prefetch: ProgressSnapshot,
    /// In the order in which they are asked, mirrors among them.
    source_figures: Vec<SourceFigures>,
    link: LinkFigures,
    counters: Snapshot,
}

#[derive(Serialize)]
struct SourceInfo {
    r#type: &'static str,
    config: Value,
}

#[derive(Serialize)]
struct Cache {
    dir: Option<String>,
    limit: Option<u64>,
    used: Option<u64>,
    evicted: Option<u64>,
}

pub(super) async fn info(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refusal> {
    // The use of the cache is read from its disk.
    let info = crate::runtime::blocking(move || Info {
        version: env!("CARGO_PKG_VERSION"),
        id: daemon.id.clone(),
        state: daemon.kept().map(|kept| StateInfo {
            dir: kept.dir.display().to_string(),
            restored: kept.restored,
            lost: kept.lost.clone(),
            failures: crate::state::failures(),
        }),
        sandbox: daemon.sandbox().cloned(),
        instances: daemon
            .instances()
            .into_iter()
            .map(|(place, instance)| (place, served(&instance)))
            .collect(),
        directories: daemon
            .directories()
            .into_iter()
            .map(|(place, directory)| (place, shared(&directory)))
            .collect(),
    });
    match info.await {
        Ok(info) => Ok(json(&info)),
        Err(_) => Err(Refusal::unsupported("The daemon is ending")),
    }
}

fn shared(directory: &Directory) -> DirectoryInfo {
    let options = directory.fs.options();
    DirectoryInfo {
        source: directory.fs.source().display().to_string(),
        cache: options.cache.to_string(),
        xattr: options.xattr,
        posix_acl: options.posix_acl,
        announce_submounts: options.announce_submounts,
        read_only: options.read_only,
        mounted_at: humantime::format_rfc3339_seconds(directory.mounted).to_string(),
        nodes: directory.fs.held_nodes(),
        open: directory.fs.open_handles(),
    }
}

fn served(instance: &Instance) -> Served {
    let image = &instance.image;
    let figures = instance.store.cache_figures();
    Served {
        bootstrap: image.path().display().to_string(),
        root: image.root_digest().map(|root| format!("sha256:{root}")),
        pinned: image.pinned(),
        verify: instance.verify.to_string(),
        mounted_at: humantime::format_rfc3339_seconds(instance.mounted).to_string(),
        sources: instance
            .sources
            .iter()
            .map(|source| SourceInfo {
                r#type: source.kind,
                config: source.config.clone(),
            })
            .collect(),
        cache: Cache {
            dir: instance.cache.as_ref().map(|dir| dir.display().to_string()),
            limit: instance.cache_limit,
            used: figures.and_then(|figures| figures.used),
            evicted: figures.map(|figures| figures.evicted),
        },
        prefetch: instance.prefetch.snapshot(),
        source_figures: instance.store.source_figures(),
        link: instance.store.link(),
        counters: instance.store.counters().snapshot(),
    }
}
