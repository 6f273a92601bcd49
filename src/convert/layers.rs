//! From the layers of an image to converted layers: those that were converted
//! before are taken as they are, the others are read once.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ConvertError;
use super::dict::Dicts;
use super::place::Target;
use super::progress::{Bar, Progress, short};
use super::record;
use super::report::LayerReport;
use super::uploads::{Deliveries, Uploads, in_file, in_memory};
use crate::build::layers::cache::LayerCache;
use crate::build::layers::{DictId, LayerImage, LayerPlaces, convert, layer_key};
use crate::build::options::BuildOptions;
use crate::build::pack::{Dict, NoDict};
use crate::chunk::{Digest, DigestAlgorithm};
use crate::oci::repository::Payload;
use crate::oci::{BlobSource, Layer, media};

/// Converts layers, each once.
pub(super) struct Layers<'a> {
    options: &'a BuildOptions,
    dicts: &'a Dicts,
    target: Arc<Target>,
    /// Whether records of the target are believed.
    reuse: bool,
    cache: LayerCache,
    dir: PathBuf,
    progress: Progress,
    /// The records of the layers that are done.
    known: HashMap<Digest, PathBuf>,
}

impl<'a> Layers<'a> {
    /// Layers whose blobs and records are kept in `dir`.
    pub(super) fn new(
        options: &'a BuildOptions,
        dicts: &'a Dicts,
        target: Arc<Target>,
        reuse: bool,
        dir: &Path,
        progress: Progress,
    ) -> Result<Self, ConvertError> {
        Ok(Self {
            options,
            dicts,
            target,
            reuse,
            cache: LayerCache::open(dir)?,
            dir: dir.join("layers"),
            progress,
            known: HashMap::new(),
        })
    }

    /// The converted form of a layer; what the target lacks of it is on its way
    /// there.
    ///
    /// # Errors
    /// When the layer cannot be read, or holds what an image cannot.
    pub(super) fn prepare(
        &mut self,
        source: &dyn BlobSource,
        layer: &Layer,
        uploads: &mut Uploads,
    ) -> Result<(LayerImage, LayerReport), ConvertError> {
        let mut report = LayerReport {
            digest: format!("sha256:{}", layer.digest),
            size: layer.descriptor.size,
            read: 0,
            reused: true,
        };
        if let Some(path) = self.known.get(&layer.digest) {
            return Ok((LayerImage::open(path)?, report));
        }
        // What was converted without a dict is as good, and there already.
        let plain = layer_key(&layer.digest, self.options, &DictId::default());
        let ours = layer_key(&layer.digest, self.options, &self.dicts.id);
        for key in [plain, ours] {
            if let Some(image) = self.find(&key, &layer.digest, uploads)? {
                log::info!("Layer {}: converted before", report.digest);
                return Ok((image, report));
            }
            if plain == ours {
                break;
            }
        }
        report.reused = false;
        let image = self.convert(source, layer, &ours, &mut report)?;
        let path = self.dir.join(ours.to_string());
        self.deliver(&image, &ours, path, true, uploads)?;
        log::info!("Layer {}: converted", report.digest);
        Ok((image, report))
    }

    /// A layer that was converted before: for another image, by a run that was
    /// cut short, or for the target.
    fn find(
        &mut self,
        key: &Digest,
        layer: &Digest,
        uploads: &mut Uploads,
    ) -> Result<Option<LayerImage>, ConvertError> {
        let path = self.dir.join(key.to_string());
        if self.reuse {
            let fetched = self.dir.join(format!("{key}.fetched"));
            if let Some(known) = record::fetch(&self.target, key, layer, &fetched)? {
                for (digest, size, delivery) in known.blobs {
                    uploads.note(&digest, size, true, delivery);
                }
                if !known.own {
                    self.deliver(&known.image, key, fetched.clone(), false, uploads)?;
                }
                self.known.insert(*layer, fetched);
                return Ok(Some(known.image));
            }
        }
        match self.cache.get(key) {
            Some(image) if image.layer() == *layer => {
                self.deliver(&image, key, path.clone(), true, uploads)?;
                self.known.insert(*layer, path);
                Ok(Some(image))
            }
            _ => Ok(None),
        }
    }

    fn convert(
        &mut self,
        source: &dyn BlobSource,
        layer: &Layer,
        key: &Digest,
        report: &mut LayerReport,
    ) -> Result<LayerImage, ConvertError> {
        let read = Arc::new(AtomicU64::new(0));
        let what = format!("reading {}", short(&report.digest));
        let bytes = Counted {
            inner: source.open(&layer.descriptor)?,
            read: Arc::clone(&read),
            bar: self.progress.bar(&what, report.size),
        };
        let kept = self.cache.start()?;
        let places = LayerPlaces {
            blobs: self.cache.blobs(),
            record: (kept.as_file(), kept.path()),
        };
        let name = format!("layer {}", report.digest);
        let dict: &dyn Dict = match &self.dicts.chunks {
            Some(chunks) => chunks,
            None => &NoDict,
        };
        let image = convert(&name, layer.digest, bytes, dict, self.options, &places)?;
        self.cache.put(key, kept)?;
        self.known
            .insert(layer.digest, self.dir.join(key.to_string()));
        report.read = read.load(Ordering::Relaxed);
        Ok(image)
    }

    /// Starts sending a layer's blobs, if they are on this machine, and when they
    /// are there its record.
    fn deliver(
        &self,
        image: &LayerImage,
        key: &Digest,
        path: PathBuf,
        local: bool,
        uploads: &mut Uploads,
    ) -> Result<(), ConvertError> {
        let bytes = std::fs::read(&path).map_err(ConvertError::io("read layer record", &path))?;
        let digest = DigestAlgorithm::Sha256.digest(&bytes);
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let kept = record::descriptor(&digest, size);
        let manifest = record::manifest(image, kept.clone()).to_bytes();
        let mut blobs = Vec::new();
        for blob in image.blobs() {
            let Some(digest) = Digest::parse(&blob.id) else {
                continue;
            };
            let size = blob.stored_size;
            let payload = match blob.dict {
                true => self.dicts.payload(&blob.id),
                false => local.then(|| in_file(self.cache.blobs(), &digest, size)),
            };
            blobs.push((record::blob_layer(&digest, size), payload));
        }
        let (layer, key) = (image.layer(), *key);
        uploads.spawn(|sender, target| async move {
            let mut done = Deliveries::new();
            for (descriptor, payload) in blobs {
                match payload {
                    Some(payload) => sender.send(&descriptor, payload, &mut done).await?,
                    None => sender.bring(&descriptor, &mut done).await?,
                }
            }
            let payload = Payload::File { path, size };
            sender.send(&kept, payload, &mut done).await?;
            let (config, payload) = in_memory(media::EMPTY, record::NO_CONFIG.to_vec());
            sender.send(&config, payload, &mut done).await?;
            target.put_record(&key, &manifest).await?;
            log::debug!("Layer sha256:{layer}: recorded");
            Ok(done)
        })
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
    bar: Bar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        let more = u64::try_from(got).unwrap_or(u64::MAX);
        let total = self.read.fetch_add(more, Ordering::Relaxed) + more;
        self.bar.set(total);
        Ok(got)
    }
}
