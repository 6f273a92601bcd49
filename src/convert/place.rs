//! Where images come from and go to: registries and image layouts, with one
//! face.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::ConvertError;
use crate::backend::registry::Grants;
use crate::chunk::{Digest, DigestAlgorithm};
use crate::oci::archive::Archive;
use crate::oci::layout::{Layout, LayoutWriter};
use crate::oci::manifest::{Descriptor, media_type, parse_digest};
use crate::oci::reference::{Name, Place, Which};
use crate::oci::repository::{Access, Delivery, Payload, Repository, Sent};
use crate::oci::{BlobSource, OciError};

/// An image that is read.
pub struct Source {
    /// What it is called.
    pub name: String,
    /// Its blobs and manifests.
    pub blobs: Arc<dyn BlobSource>,
    /// The manifest or index that the name leads to.
    pub root: Descriptor,
    /// The repository, if it is one of a registry.
    pub repository: Option<(Name, Arc<Repository>)>,
    /// The directory, if it is an image layout.
    pub layout: Option<std::path::PathBuf>,
}

impl Source {
    /// Finds an image. A compressed archive is unpacked to an unnamed file in
    /// `spool`.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn open(place: &Place, access: &Access, spool: &Path) -> Result<Self, ConvertError> {
        let name = place.to_string();
        Ok(match place {
            Place::Registry(reference) => {
                let repository = Repository::new(reference, access, Grants::default())?;
                let repository = Arc::new(repository);
                let found = block_on(repository.manifest(&reference.which))??;
                let found = found.ok_or_else(|| OciError::NotFound {
                    place: repository.name().to_owned(),
                    name: reference.which.to_string(),
                    available: Vec::new(),
                })?;
                let kind = document_type(&found.bytes, &found.media_type);
                Self {
                    name,
                    blobs: Arc::new(Arc::clone(&repository)),
                    root: Descriptor::of(&kind, &found.bytes),
                    repository: Some((reference.clone(), repository)),
                    layout: None,
                }
            }
            Place::Layout { dir, name: tag } => {
                let layout = Layout::open(dir)?;
                let root = layout.find(tag.as_deref())?.clone();
                Self {
                    name,
                    blobs: Arc::new(layout),
                    root,
                    repository: None,
                    layout: Some(dir.clone()),
                }
            }
            Place::Archive { file, name: which } => {
                let archive = Archive::open(file, spool)?;
                let root = archive.find(which.as_deref())?.clone();
                Self {
                    name,
                    blobs: Arc::new(archive),
                    root,
                    repository: None,
                    layout: None,
                }
            }
        })
    }
}

/// The media type that a document has in its own words, else in those of who
/// sent it.
fn document_type(bytes: &[u8], told: &str) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        media_type: Option<String>,
    }
    let own = serde_json::from_slice::<Head>(bytes).ok();
    let own = own.and_then(|head| head.media_type);
    own.unwrap_or_else(|| told.split(';').next().unwrap_or_default().trim().to_owned())
}

/// Where an image goes.
pub struct Target {
    /// What it will be called.
    pub name: String,
    /// The tag, if it gets one.
    pub tag: Option<String>,
    kind: Kind,
}

enum Kind {
    Registry {
        repository: Arc<Repository>,
        /// Other repositories of the registry that may have blobs.
        mounts: Vec<(String, Arc<Repository>)>,
    },
    Layout(LayoutWriter),
}

impl Target {
    /// Opens the place; `mounts` are repositories of the same registry that may
    /// have blobs already.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn open(place: &Place, access: &Access, mounts: &[String]) -> Result<Self, ConvertError> {
        let name = place.to_string();
        let unfit = |reason: &str| ConvertError::unfit(&name, reason);
        let (tag, kind) = match place {
            Place::Registry(reference) => {
                let tag = match &reference.which {
                    Which::Tag(tag) => tag.clone(),
                    Which::Digest(_) => return Err(unfit("give a tag, the digest is computed")),
                };
                let mounts: Vec<String> = mounts
                    .iter()
                    .filter(|from| **from != reference.repository)
                    .cloned()
                    .collect();
                let grants = Grants {
                    push: true,
                    mounts: mounts.clone(),
                };
                let repository = Arc::new(Repository::new(reference, access, grants)?);
                let mut others = Vec::with_capacity(mounts.len());
                for from in mounts {
                    let mut other = reference.clone();
                    other.repository.clone_from(&from);
                    let other = Repository::new(&other, access, Grants::default())?;
                    others.push((from, Arc::new(other)));
                }
                let mounts = others;
                (Some(tag), Kind::Registry { repository, mounts })
            }
            Place::Layout { dir, name: tag } => {
                if tag
                    .as_deref()
                    .is_some_and(|tag| parse_digest(tag).is_some())
                {
                    return Err(unfit("give a tag, the digest is computed"));
                }
                (tag.clone(), Kind::Layout(LayoutWriter::open(dir)?))
            }
            Place::Archive { .. } => {
                return Err(unfit(
                    "archives are not written; write an image layout (oci:DIR)",
                ));
            }
        };
        Ok(Self { name, tag, kind })
    }

    /// The place without the tag, for messages.
    pub fn place(&self) -> String {
        match &self.kind {
            Kind::Registry { repository, .. } => repository.name().to_owned(),
            Kind::Layout(layout) => layout.dir().display().to_string(),
        }
    }

    /// Brings a blob there.
    ///
    /// # Errors
    /// When it cannot be read, or the target does not take it.
    pub async fn put(
        &self,
        digest: &Digest,
        payload: &Payload,
        sent: &Sent,
    ) -> Result<Delivery, ConvertError> {
        match &self.kind {
            Kind::Registry { repository, mounts } => {
                let mounts: Vec<String> = mounts.iter().map(|(name, _)| name.clone()).collect();
                Ok(repository.upload(digest, payload, &mounts, sent).await?)
            }
            Kind::Layout(layout) => {
                if layout.has(digest, payload.size()) {
                    return Ok(Delivery::Present);
                }
                match payload {
                    Payload::Bytes(bytes) => layout.put_bytes(digest, bytes)?,
                    Payload::File { path, .. } => layout.put_file(digest, path)?,
                }
                sent(payload.size());
                Ok(Delivery::Uploaded)
            }
        }
    }

    /// Brings a blob there without its bytes; none if that is not possible.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn bring(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Delivery>, ConvertError> {
        match &self.kind {
            Kind::Registry { repository, mounts } => {
                let mounts: Vec<String> = mounts.iter().map(|(name, _)| name.clone()).collect();
                Ok(repository.mount_only(digest, &mounts).await?)
            }
            Kind::Layout(layout) => Ok(layout.has(digest, size).then_some(Delivery::Present)),
        }
    }

    /// Pushes a manifest or index, under a tag if there is one. Whether it was
    /// not there (in a registry: not under that tag).
    ///
    /// # Errors
    /// When the target does not take it.
    pub async fn put_manifest(
        &self,
        descriptor: &Descriptor,
        bytes: &[u8],
        tag: Option<&str>,
    ) -> Result<bool, ConvertError> {
        let digest = DigestAlgorithm::Sha256.digest(bytes);
        match &self.kind {
            Kind::Registry { repository, .. } => {
                let which = match tag {
                    Some(tag) => Which::Tag(tag.to_owned()),
                    None => Which::Digest(digest),
                };
                let there = repository.manifest(&which).await?;
                if there.is_some_and(|there| there.digest == digest) {
                    return Ok(false);
                }
                let kind = &descriptor.media_type;
                repository.put_manifest(bytes, kind, tag).await?;
                Ok(true)
            }
            Kind::Layout(layout) => {
                let new = !layout.has(&digest, descriptor.size);
                if new {
                    layout.put_bytes(&digest, bytes)?;
                }
                if tag.is_some() {
                    layout.enter(descriptor, tag)?;
                }
                Ok(new)
            }
        }
    }

    /// Pushes a manifest that is about another one, so that it is found from
    /// there.
    ///
    /// # Errors
    /// When the target does not take it.
    pub async fn put_referrer(
        &self,
        descriptor: &Descriptor,
        bytes: &[u8],
        subject: &Digest,
    ) -> Result<(), ConvertError> {
        match &self.kind {
            Kind::Registry { repository, .. } => {
                let pushed = repository.put_referrer(bytes, descriptor, subject, None);
                Ok(pushed.await?)
            }
            Kind::Layout(layout) => {
                let digest = DigestAlgorithm::Sha256.digest(bytes);
                layout.put_bytes(&digest, bytes)?;
                layout.enter(descriptor, None)?;
                Ok(())
            }
        }
    }

    /// The record of a converted layer that the target has, or a repository to
    /// mount from.
    ///
    /// # Errors
    /// When a registry does not answer.
    pub async fn find_record(&self, key: &Digest) -> Result<Option<FoundRecord>, ConvertError> {
        match &self.kind {
            Kind::Registry { repository, mounts } => {
                let others = mounts.iter().map(|(_, repository)| repository);
                let which = Which::Tag(record_tag(key));
                for place in std::iter::once(repository).chain(others) {
                    if let Some(found) = place.manifest(&which).await? {
                        return Ok(Some(FoundRecord {
                            manifest: found.bytes.to_vec(),
                            blobs: Arc::new(Arc::clone(place)),
                            own: Arc::ptr_eq(place, repository),
                        }));
                    }
                }
                Ok(None)
            }
            Kind::Layout(layout) => {
                let path = layout.dir().join(RECORDS).join(key.to_string());
                match std::fs::read(&path) {
                    Ok(manifest) => Ok(Some(FoundRecord {
                        manifest,
                        blobs: Arc::new(Layout::open(layout.dir())?),
                        own: true,
                    })),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(ConvertError::io("read layer record", path)(error)),
                }
            }
        }
    }

    /// Keeps the record of a converted layer; its blobs are there.
    ///
    /// # Errors
    /// When the target does not take it.
    pub async fn put_record(&self, key: &Digest, bytes: &[u8]) -> Result<(), ConvertError> {
        match &self.kind {
            Kind::Registry { repository, .. } => {
                let tag = record_tag(key);
                let kind = media_type::MANIFEST;
                repository.put_manifest(bytes, kind, Some(&tag)).await?;
            }
            Kind::Layout(layout) => {
                let dir = layout.dir().join(RECORDS);
                std::fs::create_dir_all(&dir)
                    .map_err(ConvertError::io("create directory", &dir))?;
                layout.write(&format!("{RECORDS}/{key}"), bytes)?;
            }
        }
        Ok(())
    }
}

/// A record of a converted layer.
pub struct FoundRecord {
    /// Its manifest.
    pub manifest: Vec<u8>,
    /// Where its blobs are.
    pub blobs: Arc<dyn BlobSource>,
    /// Whether the target itself has it.
    pub own: bool,
}

/// Where an image layout keeps records of converted layers: not in its index,
/// which other tools take for a list of images.
const RECORDS: &str = "tidegate-layers";

/// Where a repository keeps one.
fn record_tag(key: &Digest) -> String {
    format!("tidegate-layer-{key}")
}

/// Waits on the program's runtime; not to be called on it.
///
/// # Errors
/// When the system refuses a thread.
pub(super) fn block_on<F: Future>(future: F) -> Result<F::Output, ConvertError> {
    let runtime = crate::runtime::handle();
    let runtime = runtime.map_err(ConvertError::io("start the threads of", "the network"))?;
    Ok(runtime.block_on(future))
}

/// Reads at most `limit` bytes of a blob that is only of use whole.
pub(super) fn read_whole(
    mut reader: Box<dyn Read + Send>,
    limit: u64,
) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    (&mut reader).take(limit + 1).read_to_end(&mut bytes)?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|len| len <= limit);
    Ok(fits.then_some(bytes))
}

/// What kinds of document are images.
pub(super) fn is_index(descriptor: &Descriptor) -> bool {
    media_type::is_index(&descriptor.media_type)
}
