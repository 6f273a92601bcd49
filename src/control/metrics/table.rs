//! The metrics.

use super::{Kind, Metric, Samples, Value};
use crate::backend::sources::SourceFigures;
use crate::control::daemon::{Directory, Instance};
use crate::fuse::Stats;
use crate::fuse::stats::{LATENCY_BOUNDS, OPERATIONS, READ};
use crate::store::Snapshot;

/// A counter of the store.
macro_rules! store {
    ($field:ident, $help:expr) => {
        Metric {
            name: concat!("store_", stringify!($field)),
            kind: Kind::Counter,
            help: $help,
            read: |instance, out| out.whole(counters(instance).$field),
        }
    };
}

/// Of images.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "image",
        kind: Kind::Gauge,
        help: "1 for the image that is served, with its root digest, whether it is pinned, and the version of the daemon",
        read: |instance, out| {
            let root = instance.image.root_digest();
            let labels = vec![
                (
                    "root",
                    root.map(|root| root.to_string()).unwrap_or_default(),
                ),
                ("pinned", instance.image.pinned().to_string()),
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ];
            out.labelled(labels, Value::Whole(1));
        },
    },
    store!(
        hits,
        "Parts of chunks served from the cache on a queue's thread"
    ),
    store!(hit_bytes, "Bytes of these parts"),
    store!(misses, "Chunk reads that took the slow path"),
    store!(fetches, "Requests to the sources"),
    store!(fetched_bytes, "Stored bytes that the sources delivered"),
    store!(fetched_chunks, "Chunks that came from a source and proved"),
    store!(
        copied_chunks,
        "Chunks copied from another image's cache on this host and proved"
    ),
    store!(
        fetched_ahead,
        "Chunks fetched before any reader had asked for them"
    ),
    store!(
        cache_proofs,
        "Chunks of the cache proved against their digest"
    ),
    store!(
        proof_failures_cache,
        "Chunks of the cache that failed their proof"
    ),
    store!(
        proof_failures_source,
        "Fetched chunks that failed their proof"
    ),
    store!(
        repairs,
        "Chunks fetched again because the cache's copy had failed"
    ),
    store!(
        interference,
        "Checks that failed in a reader's memory while the cache was right"
    ),
    store!(
        fetch_errors,
        "Requests that no source answered, or that broke off"
    ),
    store!(
        cache_write_errors,
        "Chunks that could not be written to the cache"
    ),
    Metric {
        name: "source_requests",
        kind: Kind::Counter,
        help: "Requests that were made of a source",
        read: |instance, out| by_source(instance, out, |source| source.requests),
    },
    Metric {
        name: "source_errors",
        kind: Kind::Counter,
        help: "Requests that a source did not answer, and answers that broke off",
        read: |instance, out| by_source(instance, out, |source| source.errors),
    },
    Metric {
        name: "source_bytes",
        kind: Kind::Counter,
        help: "Bytes that a source delivered",
        read: |instance, out| by_source(instance, out, |source| source.bytes),
    },
    Metric {
        name: "source_lies",
        kind: Kind::Counter,
        help: "Chunks of a source that failed their proof",
        read: |instance, out| by_source(instance, out, |source| source.lies),
    },
    Metric {
        name: "source_resting",
        kind: Kind::Gauge,
        help: "1 while a source is left out because it failed too often",
        read: |instance, out| by_source(instance, out, |source| source.resting.into()),
    },
    Metric {
        name: "link_round_trip_seconds",
        kind: Kind::Gauge,
        help: "Time from a request to the first byte of its answer, as estimated now",
        read: |instance, out| out.real(instance.store.link().round_trip_seconds),
    },
    Metric {
        name: "link_bytes_per_second",
        kind: Kind::Gauge,
        help: "Bytes per second that all answers together bring, as estimated now",
        read: |instance, out| out.real(instance.store.link().bytes_per_second),
    },
    Metric {
        name: "cache_used_bytes",
        kind: Kind::Gauge,
        help: "Bytes of the host's cache directory, all images together, as the limit counts them",
        read: |instance, out| {
            let figures = instance.store.cache_figures();
            if let Some(used) = figures.and_then(|figures| figures.used) {
                out.whole(used);
            }
        },
    },
    Metric {
        name: "cache_evicted_bytes",
        kind: Kind::Counter,
        help: "Bytes of the host's cache that this daemon evicted",
        read: |instance, out| {
            let figures = instance.store.cache_figures();
            out.whole(figures.map_or(0, |figures| figures.evicted));
        },
    },
    Metric {
        name: "cache_limit_bytes",
        kind: Kind::Gauge,
        help: "Limit of the host's cache directory",
        read: |instance, out| {
            if let Some(limit) = instance.cache_limit {
                out.whole(limit);
            }
        },
    },
    Metric {
        name: "prefetch_wanted_chunks",
        kind: Kind::Gauge,
        help: "Chunks that are to be fetched ahead, as far as is known",
        read: |instance, out| out.whole(instance.prefetch.snapshot().wanted),
    },
    Metric {
        name: "prefetch_done_chunks",
        kind: Kind::Gauge,
        help: "Chunks of these that were brought or found in the cache",
        read: |instance, out| out.whole(instance.prefetch.snapshot().done),
    },
    Metric {
        name: "prefetch_bytes",
        kind: Kind::Counter,
        help: "Bytes that came from the sources for them",
        read: |instance, out| out.whole(instance.prefetch.snapshot().bytes),
    },
    Metric {
        name: "prefetch_failures",
        kind: Kind::Counter,
        help: "Tries to fetch ahead that failed; each is tried again",
        read: |instance, out| out.whole(instance.prefetch.snapshot().failed),
    },
    Metric {
        name: "prefetch_complete",
        kind: Kind::Gauge,
        help: "1 when every chunk of the image was brought into the cache",
        read: |instance, out| out.whole(instance.prefetch.snapshot().complete.into()),
    },
];

/// Of directories.
pub const DIRECTORIES: &[Metric<Directory>] = &[
    Metric {
        name: "directory_nodes",
        kind: Kind::Gauge,
        help: "Files and directories that the guest knows, each of which costs a descriptor",
        read: |directory, out| out.whole(directory.fs.held_nodes() as u64),
    },
    Metric {
        name: "directory_open_files",
        kind: Kind::Gauge,
        help: "Files and directories that the guest has open",
        read: |directory, out| out.whole(directory.fs.open_handles() as u64),
    },
];

/// Of requests, to images and directories.
pub const REQUESTS: &[Metric<Stats>] = &[
    Metric {
        name: "fuse_requests",
        kind: Kind::Counter,
        help: "FUSE requests that were answered, by operation",
        read: |stats, out| {
            let requests = stats.snapshot().requests;
            by_operation(out, requests.map(Value::Whole));
        },
    },
    Metric {
        name: "fuse_errors",
        kind: Kind::Counter,
        help: "FUSE requests that were answered with an error, by operation",
        read: |stats, out| {
            let errors = stats.snapshot().errors;
            by_operation(out, errors.map(Value::Whole));
        },
    },
    Metric {
        name: "fuse_seconds",
        kind: Kind::Counter,
        help: "Time from requests to their answers, by operation",
        read: |stats, out| {
            let nanos = stats.snapshot().nanos;
            by_operation(out, nanos.map(|nanos| Value::Real(seconds(nanos))));
        },
    },
    Metric {
        name: "fuse_read_bytes",
        kind: Kind::Counter,
        help: "Bytes that READ requests were answered with",
        read: |stats, out| out.whole(stats.snapshot().read_bytes),
    },
    Metric {
        name: "fuse_read_duration_seconds",
        kind: Kind::Histogram,
        help: "Time from READ requests to their answers",
        read: read_durations,
    },
];

fn counters(instance: &Instance) -> Snapshot {
    instance.store.counters().snapshot()
}

fn by_source(instance: &Instance, out: &mut Samples, read: fn(&SourceFigures) -> u64) {
    for (position, source) in instance.store.source_figures().iter().enumerate() {
        let labels = vec![
            ("position", position.to_string()),
            ("source", source.name.clone()),
        ];
        out.labelled(labels, Value::Whole(read(source)));
    }
}

fn by_operation(out: &mut Samples, values: [Value; OPERATIONS.len()]) {
    for (operation, value) in OPERATIONS.iter().zip(values) {
        out.labelled(vec![("operation", (*operation).to_owned())], value);
    }
}

fn read_durations(stats: &Stats, out: &mut Samples) {
    let stats = stats.snapshot();
    let bounds = LATENCY_BOUNDS.map(|micros| seconds(micros.saturating_mul(1000)));
    let bounds = bounds.into_iter().chain([f64::INFINITY]);
    let buckets = bounds.zip(stats.read_latencies).collect();
    let sum = seconds(stats.nanos[READ]);
    out.labelled(Vec::new(), Value::Histogram { sum, buckets });
}

#[expect(
    clippy::cast_precision_loss,
    reason = "good for 100 days to the microsecond"
)]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
