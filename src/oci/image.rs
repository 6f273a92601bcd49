//! From a descriptor to one image: manifest, configuration and layers.

use serde_json::Value;

use super::blob::BlobSource;
use super::error::OciError;
use super::manifest::{Descriptor, Index, Manifest, media_type, parse_digest};
use super::platform::Platform;
use crate::chunk::Digest;

/// Indexes inside indexes that are followed.
const DEPTH: usize = 4;

/// One image of one platform.
#[derive(Debug, Clone)]
pub struct OciImage {
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest as it was read.
    pub manifest_bytes: Vec<u8>,
    /// The configuration, with all that is in it.
    pub config: Value,
    /// The configuration as it was read.
    pub config_bytes: Vec<u8>,
    /// What the configuration says that it runs on.
    pub platform: Platform,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

/// One layer of an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// SHA-256 of its bytes as they are stored.
    pub digest: Digest,
    /// SHA-256 of its archive without compression, where the configuration
    /// tells it.
    pub diff_id: Option<Digest>,
}

impl OciImage {
    /// Reads the image that `descriptor` leads to: a manifest, or an index, of
    /// which the entry for `platform` is taken (for Linux on this machine's
    /// processor if none is given).
    ///
    /// # Errors
    /// When a document cannot be read, is not what its digest says or breaks
    /// the specification, when there is no image for the platform, and when the
    /// layers are not those of a container image.
    pub fn read(
        source: &dyn BlobSource,
        descriptor: &Descriptor,
        platform: Option<&Platform>,
    ) -> Result<Self, OciError> {
        let descriptor = find_manifest(source, descriptor, platform)?;
        let manifest_bytes = source.read(&descriptor)?;
        let what = format!("Manifest {}", descriptor.digest);
        let manifest: Manifest = parse(source, &what, &manifest_bytes)?;
        let config_bytes = source.read(&manifest.config)?;
        let what = format!("Configuration {}", manifest.config.digest);
        let config: Value = parse(source, &what, &config_bytes)?;
        let found = platform_of(&config);
        if let Some(wanted) = platform
            && !found.os.is_empty()
            && !wanted.accepts(&found)
        {
            return Err(OciError::NoPlatform {
                place: source.place(),
                wanted: wanted.to_string(),
                available: vec![found.to_string()],
            });
        }
        let layers = layers(source, &descriptor, &manifest, &config)?;
        Ok(Self {
            descriptor,
            manifest,
            manifest_bytes,
            config,
            config_bytes,
            platform: found,
            layers,
        })
    }
}

/// All manifests that `descriptor` leads to, each with its platform as far as
/// an index tells it.
///
/// # Errors
/// As [`OciImage::read`].
pub fn list_manifests(
    source: &dyn BlobSource,
    descriptor: &Descriptor,
) -> Result<Vec<Descriptor>, OciError> {
    let mut found = Vec::new();
    let mut stack = vec![(descriptor.clone(), 0)];
    while let Some((next, depth)) = stack.pop() {
        match read_index(source, &next, depth)? {
            None => found.push(next),
            Some(index) => {
                let entries = index.manifests.into_iter().rev();
                stack.extend(entries.map(|entry| (entry, depth + 1)));
            }
        }
    }
    Ok(found)
}

fn find_manifest(
    source: &dyn BlobSource,
    descriptor: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Descriptor, OciError> {
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let mut at = descriptor.clone();
    let mut depth = 0;
    while let Some(index) = read_index(source, &at, depth)? {
        let only = match &index.manifests[..] {
            [only] if only.platform.is_none() => Some(only),
            all => wanted.choose(all),
        };
        let Some(found) = only else {
            return Err(OciError::NoPlatform {
                place: source.place(),
                wanted: wanted.to_string(),
                available: platforms(&index.manifests),
            });
        };
        at = found.clone();
        depth += 1;
    }
    Ok(at)
}

/// The platforms of an index's entries, those of attestations left out.
fn platforms(manifests: &[Descriptor]) -> Vec<String> {
    let platforms = manifests.iter().filter_map(|it| it.platform.as_ref());
    platforms
        .map(ToString::to_string)
        .filter(|name| name != "unknown/unknown")
        .collect()
}

/// The index that `descriptor` names; None if it names a manifest. Of a
/// descriptor without a media type the document is asked.
fn read_index(
    source: &dyn BlobSource,
    descriptor: &Descriptor,
    depth: usize,
) -> Result<Option<Index>, OciError> {
    let kind = descriptor.media_type.as_str();
    let what = || format!("Document {}", descriptor.digest);
    if media_type::is_manifest(kind) {
        return Ok(None);
    }
    if !kind.is_empty() && !media_type::is_index(kind) {
        return Err(invalid(
            source,
            what(),
            format!("it is no image but {kind}"),
        ));
    }
    let bytes = source.read(descriptor)?;
    if kind.is_empty() {
        let value: Value = parse(source, &what(), &bytes)?;
        if value.get("manifests").is_none() {
            return Ok(None);
        }
    }
    if depth >= DEPTH {
        let reason = format!("indexes inside more than {DEPTH} indexes are not followed");
        return Err(invalid(source, what(), reason));
    }
    parse(source, &format!("Index {}", descriptor.digest), &bytes).map(Some)
}

fn platform_of(config: &Value) -> Platform {
    let text = |key| config.get(key).and_then(Value::as_str).map(String::from);
    Platform {
        architecture: text("architecture").unwrap_or_default(),
        os: text("os").unwrap_or_default(),
        variant: text("variant"),
        ..Platform::default()
    }
}

fn layers(
    source: &dyn BlobSource,
    descriptor: &Descriptor,
    manifest: &Manifest,
    config: &Value,
) -> Result<Vec<Layer>, OciError> {
    let what = || format!("Manifest {}", descriptor.digest);
    let ids = config.pointer("/rootfs/diff_ids").and_then(Value::as_array);
    if let Some(ids) = ids
        && ids.len() != manifest.layers.len()
    {
        let (layers, ids) = (manifest.layers.len(), ids.len());
        let reason = format!("it has {layers} layers, its configuration lists {ids}");
        return Err(invalid(source, what(), reason));
    }
    let mut layers = Vec::with_capacity(manifest.layers.len());
    for (position, layer) in manifest.layers.iter().enumerate() {
        let kind = &layer.media_type;
        if !media_type::is_layer(kind) {
            let reason = format!("layer {} is of type {kind}, no tar archive", layer.digest);
            return Err(invalid(source, what(), reason));
        }
        let Some(digest) = layer.sha256() else {
            let reason = format!("layer {} is not named by a SHA-256", layer.digest);
            return Err(invalid(source, what(), reason));
        };
        let diff_id = ids
            .and_then(|ids| ids.get(position))
            .and_then(Value::as_str);
        layers.push(Layer {
            descriptor: layer.clone(),
            digest,
            diff_id: diff_id.and_then(parse_digest),
        });
    }
    Ok(layers)
}

/// Parses a document of `source`.
///
/// # Errors
/// When it is no JSON or lacks what it must have.
pub fn parse<T: serde::de::DeserializeOwned>(
    source: &dyn BlobSource,
    what: &str,
    bytes: &[u8],
) -> Result<T, OciError> {
    serde_json::from_slice(bytes).map_err(|error| OciError::Document {
        what: what.into(),
        place: source.place(),
        source: error,
    })
}

fn invalid(source: &dyn BlobSource, what: String, reason: String) -> OciError {
    OciError::Invalid {
        what,
        place: source.place(),
        reason,
    }
}
