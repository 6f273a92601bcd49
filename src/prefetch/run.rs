//! The downloads of one image, from the first stage to the last.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::Notify;

use super::options::{Keep, PrefetchOptions, Scope};
use super::place;
use super::progress::Progress;
use super::pump::Pump;
use super::stages::{Baked, Everything, Files, Stage, Traced, follow};
use crate::backend::Class;
use crate::image::{Image, NodeRef};
use crate::store::Store;
use crate::trace::Trace;

/// What is to be brought.
pub(super) struct Plan {
    image: Arc<Image>,
    /// Whether the trace that is part of the image is streamed.
    baked: bool,
    /// A recorded trace.
    trace: Option<PathBuf>,
    /// Whether the trace was asked for by name.
    by_name: bool,
    files: Whole,
    all: bool,
    bandwidth: Option<u64>,
}

/// Which files are fetched whole.
enum Whole {
    None,
    Table,
    List(Vec<Vec<u8>>),
}

impl Plan {
    /// What the options ask for; none if that is nothing.
    pub(super) fn new(
        options: &PrefetchOptions,
        auto: Option<&Path>,
        image: &Arc<Image>,
    ) -> Option<Self> {
        let (trace, by_name) = match &options.replay {
            Keep::Off => (None, false),
            Keep::Auto => (auto.filter(|path| path.exists()).map(Path::to_owned), false),
            Keep::File(path) => (Some(path.clone()), true),
        };
        let baked = options.replay != Keep::Off && image.has_trace();
        let files = match (options.scope, &options.files) {
            (Scope::Off, _) => Whole::None,
            (_, Some(list)) => Whole::List(list.clone()),
            // The table of an image with a trace is for readers who only know
            // tables: it names files of which the trace wants parts.
            _ if image.summary().prefetch_table.1 > 0 && !image.has_trace() => Whole::Table,
            _ => Whole::None,
        };
        let all = options.scope == Scope::All;
        let any = baked || trace.is_some() || !matches!(files, Whole::None) || all;
        any.then(|| Self {
            image: Arc::clone(image),
            baked,
            trace,
            by_name,
            files,
            all,
            bandwidth: options.bandwidth,
        })
    }

    /// Brings everything, or as much as there is until `end`.
    pub(super) fn run(self, store: Arc<Store>, progress: Arc<Progress>, end: &Notify) {
        let runtime = match crate::runtime::handle() {
            Ok(runtime) => runtime,
            Err(error) => {
                log::error!("Nothing is fetched ahead, threads cannot be started: {error}");
                return;
            }
        };
        runtime.block_on(async {
            tokio::select! {
                () = self.stages(store, &progress) => {}
                () = end.notified() => {}
            }
        });
    }

    async fn stages(self, store: Arc<Store>, progress: &Arc<Progress>) {
        let room = store.cache_limit();
        let mut pump = Pump::new(store, Arc::clone(progress), self.bandwidth);
        let image = &self.image;
        if self.baked {
            match image.trace() {
                Ok(runs) => {
                    let mut stage = Baked::new(Arc::clone(image), runs);
                    pump.stage(&mut stage, Class::Readahead).await;
                    let count = progress.snapshot().done;
                    log::info!("Trace of the image streamed: {count} chunks are here");
                }
                Err(error) => log::warn!("The image's trace is passed over: {error}"),
            }
        }
        if let Some(trace) = self.trace() {
            let mut stage = Traced::new(Arc::clone(image), trace);
            pump.stage(&mut stage, Class::Readahead).await;
            log::info!(
                "Trace replayed: {} chunks are here",
                progress.snapshot().done
            );
        }
        let (nodes, with_root) = self.nodes();
        let everything = (self.all || with_root) && self.fits(room);
        if everything {
            progress.wanted.fetch_max(Everything::count(image), Relaxed);
        }
        let mut stage = Files::new(Arc::clone(image), nodes);
        pump.stage(&mut stage, Class::Prefetch).await;
        if !everything {
            pump.finish(false).await;
            log::info!(
                "Prefetch ended: {} chunks are here",
                progress.snapshot().done
            );
            return;
        }
        let mut stage = Everything::new(Arc::clone(image));
        pump.stage(&mut stage, Class::Prefetch).await;
        let count = pump.asked();
        progress.wanted.store(count, Relaxed);
        if pump.finish(true).await && stage.faults() == 0 {
            progress.complete.store(true, Relaxed);
            log::info!("Image complete: {count} chunks, offline from now on");
        } else {
            log::warn!("The image is not complete: some of its chunks cannot be had");
        }
    }

    /// Whether the cache may have the whole image. If not, each chunk would push
    /// out another, and none of them would be there in the end.
    fn fits(&self, room: Option<u64>) -> bool {
        let sizes = self.image.blobs().iter().map(|blob| blob.uncompressed_size);
        let size = sizes.fold(0, u64::saturating_add);
        // Eviction begins before the limit is reached.
        let Some(room) = room.filter(|&room| room - room / 16 < size) else {
            return true;
        };
        log::warn!(
            "The whole image is not fetched: it has {size} bytes and the cache may have {room};              raise the limit of the cache"
        );
        false
    }

    fn trace(&self) -> Option<Trace> {
        let path = self.trace.as_deref()?;
        match Trace::read(path) {
            Ok(trace) => {
                let (path, count) = (path.display(), trace.lines.len());
                log::info!("Replaying the trace {path}: {count} chunks");
                if !self.by_name {
                    place::used(self.trace.as_deref()?);
                }
                Some(trace)
            }
            // Another daemon may have replaced or removed it.
            Err(error) if !self.by_name => {
                log::debug!("No trace {}: {error}", path.display());
                None
            }
            Err(error) => {
                log::warn!("Cannot read the trace {}: {error}", path.display());
                None
            }
        }
    }

    /// The nodes whose files are fetched whole; and whether the whole image is
    /// among them.
    fn nodes(&self) -> (Vec<NodeRef>, bool) {
        let mut nodes = match &self.files {
            Whole::None => Vec::new(),
            Whole::Table => self.image.prefetch_table().unwrap_or_else(|error| {
                log::warn!("The prefetch table is passed over: {error}");
                Vec::new()
            }),
            Whole::List(paths) => {
                let found = paths.iter().filter_map(|path| {
                    follow(&self.image, path)
                        .inspect_err(|error| log::warn!("Prefetch passes over a path: {error}"))
                        .ok()
                });
                found.collect()
            }
        };
        let (root, before) = (self.image.root().nid, nodes.len());
        nodes.retain(|node| node.nid != root);
        let everything = nodes.len() < before;
        (nodes, everything)
    }
}
