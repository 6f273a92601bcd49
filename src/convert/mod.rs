//! From OCI images to images of chunks that nydus-snapshotter, nydusd and
//! Tidegate run, and back.
//!
//! ```text
//! source ─► layers ─► image ─► index ─► target
//!             │          └ bootstrap, config
//!             └ record (of the target, or kept there)
//! ```
//!
//! * [`place`]: registries, layouts and archives as sources and targets.
//! * `layers`, `record`, `dict`: layers are converted once, for whatever image.
//! * `image`, `bootstrap`, `config`: one image of one platform.
//! * `signature`: what vouches for the original goes along.
//! * `uploads`: what goes on while the next layer is converted.
//! * [`indexed`]: indexes of unchanged images, put beside them.
//! * [`reverse`]: plain images of images of chunks.
//! * [`report`], [`progress`]: what was done, and what is being done.
//!
//! May use: `backend`, `build`, `image`, `oci`, `runtime`, `store`, `unpack`.
//! Used by: `cli`.

mod bootstrap;
mod config;
mod dict;
mod error;
mod image;
pub mod indexed;
mod layers;
pub mod place;
pub mod progress;
mod record;
pub mod report;
pub mod reverse;
mod signature;
mod uploads;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::dict::Dicts;
use self::image::Converted;
use self::layers::Layers;
use self::place::{Source, Target, block_on, is_index};
use self::progress::Progress;
use self::report::{LeftOut, Named, Report, Totals};
use self::uploads::Uploads;
use crate::build::options::BuildOptions;
use crate::oci::manifest::{Descriptor, Index, media_type};
use crate::oci::media;
use crate::oci::platform::Platform;
use crate::oci::reference::{Place, Which};
use crate::oci::repository::Access;

pub use error::ConvertError;

/// What an image becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// An image of its own.
    #[default]
    Image,
    /// An artifact that refers to the original, which clients find from there.
    Referrer,
}

/// How images are converted.
pub struct Options {
    /// How chunks are cut, compressed and named.
    pub build: BuildOptions,
    /// What they become.
    pub form: Form,
    /// The platforms that are wanted; all if none is named.
    pub platforms: Vec<Platform>,
    /// Images whose chunks are used in place of new ones.
    pub chunk_dicts: Vec<Place>,
    /// Repositories of the target's registry that may have blobs.
    pub mounts: Vec<String>,
    /// Whether layers that the target says were converted before are believed.
    pub reuse: bool,
    /// Directory for what is not sent yet. Kept, it saves reading layers again
    /// after a run that was cut short.
    pub work: PathBuf,
    /// How registries are reached.
    pub access: Access,
    /// Bars.
    pub progress: Progress,
}

/// Converts the image at `source` to one at `target`. Without a target the
/// artifacts go to the source's repository, without a tag.
///
/// # Errors
/// When the source cannot be read, holds what an image of chunks cannot, or the
/// target does not take it. What was sent by then is not sent again the next
/// time.
pub fn run(
    source: &Place,
    target: Option<&Place>,
    options: &Options,
) -> Result<Report, ConvertError> {
    let opened = Source::open(source, &options.access, &options.work)?;
    let (place, tagged) = match target {
        Some(target) => (target.clone(), true),
        None => (beside(source)?, false),
    };
    let mounts = mounts(source, &place, options);
    let target = Arc::new(Target::open(&place, &options.access, &mounts)?);
    let tag = target.tag.clone().filter(|_| tagged);
    let dicts = Dicts::read(
        &options.chunk_dicts,
        &options.build,
        &options.access,
        &options.work,
    )?;
    let mut uploads = Uploads::new(Arc::clone(&target), options.progress.clone());
    let mut layers = Layers::new(
        &options.build,
        &dicts,
        Arc::clone(&target),
        options.reuse,
        &options.work,
        options.progress.clone(),
    )?;
    let Choice {
        chosen,
        left_out,
        index,
    } = choose(&opened, &options.platforms)?;
    let mut images = Vec::with_capacity(chosen.len());
    let mut failed = None;
    for descriptor in &chosen {
        let image = image::convert(
            &opened,
            descriptor,
            &mut layers,
            &options.build,
            options.form,
            &options.work,
            &mut uploads,
        );
        match image {
            Ok(image) => images.push((image, descriptor.platform.clone())),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    // What is under way when an image fails saves work the next time.
    let finished = uploads.finish();
    failed.map_or(Ok(()), Err)?;
    finished?;

    let index = index.map(|index| (index, &opened.root));
    let (pushed, root) = push(&target, tag.as_deref(), &mut images, index, &opened.name)?;
    let mut totals = Totals {
        manifests: pushed,
        ..Totals::default()
    };
    uploads.add_to(&mut totals);
    let mut reports = Vec::with_capacity(images.len());
    for (image, _) in images {
        let mut report = image.report;
        for blob in &mut report.blobs {
            blob.delivery = uploads.delivery(&blob.digest);
        }
        totals.read_bytes += report.layers.iter().map(|layer| layer.read).sum::<u64>();
        reports.push(report);
    }
    let mut signed = vec![opened.root.digest.clone()];
    signed.extend(reports.iter().map(|report| report.source.clone()));
    signed.dedup();
    let signatures = signature::carry(&opened, &target, &signed)?;
    let name = match tagged {
        true => target.name.clone(),
        false => target.place(),
    };
    Ok(Report {
        source: Named {
            name: opened.name,
            digest: opened.root.digest,
        },
        target: Named { name, digest: root },
        images: reports,
        left_out,
        signatures,
        totals,
    })
}

/// The place beside a source, for artifacts that refer to it.
fn beside(source: &Place) -> Result<Place, ConvertError> {
    match source {
        Place::Registry(name) => {
            let mut name = name.clone();
            // The tag is not used.
            name.which = Which::Tag("latest".to_owned());
            Ok(Place::Registry(name))
        }
        Place::Layout { dir, .. } => Ok(Place::Layout {
            dir: dir.clone(),
            name: None,
        }),
        Place::Archive { .. } => {
            let reason = "nothing can be put beside an image in an archive; name a target";
            Err(ConvertError::unfit(source.to_string(), reason))
        }
    }
}

/// Repositories of the target's registry that may have its blobs.
fn mounts(source: &Place, target: &Place, options: &Options) -> Vec<String> {
    let mut mounts = options.mounts.clone();
    let Place::Registry(target) = target else {
        return mounts;
    };
    for place in [source].into_iter().chain(&options.chunk_dicts) {
        if let Place::Registry(name) = place
            && name.registry == target.registry
            && !mounts.contains(&name.repository)
        {
            mounts.push(name.repository.clone());
        }
    }
    mounts
}

/// What is converted of a source.
struct Choice {
    chosen: Vec<Descriptor>,
    left_out: Vec<LeftOut>,
    /// The source's index, if the result is one.
    index: Option<Index>,
}

fn choose(source: &Source, platforms: &[Platform]) -> Result<Choice, ConvertError> {
    if !is_index(&source.root) {
        return Ok(Choice {
            chosen: vec![source.root.clone()],
            left_out: Vec::new(),
            index: None,
        });
    }
    let blobs = source.blobs.as_ref();
    let bytes = blobs.read(&source.root)?;
    let what = format!("Index {}", source.root.digest);
    let index: Index = crate::oci::image::parse(blobs, &what, &bytes)?;
    let (mut chosen, mut left_out) = (Vec::new(), Vec::new());
    for descriptor in crate::oci::image::list_manifests(blobs, &source.root)? {
        let platform = descriptor.platform.clone().unwrap_or_default();
        let is_image = media_type::is_manifest(&descriptor.media_type);
        let reason = if !is_image || platform.os == "unknown" {
            // What it attests is the original's manifest, by digest.
            Some("it is an attestation of the original and no image".to_owned())
        } else if descriptor.artifact_type.as_deref() == Some(media::NYDUS_ARTIFACT) {
            Some("it is converted already".to_owned())
        } else if !platforms.is_empty() && !platforms.iter().any(|it| it.accepts(&platform)) {
            Some(format!("{platform} was not asked for"))
        } else {
            None
        };
        match reason {
            Some(reason) => left_out.push(LeftOut {
                digest: descriptor.digest,
                reason,
            }),
            None => chosen.push(descriptor),
        }
    }
    if chosen.is_empty() {
        let wanted: Vec<String> = platforms.iter().map(ToString::to_string).collect();
        let reason = match wanted.is_empty() {
            true => "its index has no image".to_owned(),
            false => format!("its index has no image for {}", wanted.join(", ")),
        };
        return Err(ConvertError::unfit(&source.name, reason));
    }
    let index = (platforms.len() != 1 || chosen.len() > 1).then_some(index);
    Ok(Choice {
        chosen,
        left_out,
        index,
    })
}

/// Pushes the manifests, and the index if there is one. How many were not there,
/// and the digest of what the tag leads to (or would).
fn push(
    target: &Target,
    tag: Option<&str>,
    images: &mut [(Converted, Option<Platform>)],
    index: Option<(Index, &Descriptor)>,
    name: &str,
) -> Result<(usize, String), ConvertError> {
    let mut pushed = 0;
    let single = index.is_none();
    let mut entries = Vec::with_capacity(images.len());
    for (image, platform) in images.iter() {
        let tag = tag.filter(|_| single);
        let put = target.put_manifest(&image.descriptor, &image.bytes, tag);
        let new = block_on(put)??;
        pushed += usize::from(new);
        if let Some(subject) = &image.subject {
            let put = target.put_referrer(&image.descriptor, &image.bytes, subject);
            block_on(put)??;
        }
        let mut entry = image.descriptor.clone();
        entry.platform.clone_from(platform);
        entries.push(entry);
    }
    let Some((mut index, source)) = index else {
        let digest = entries.pop().map(|entry| entry.digest);
        return Ok((pushed, digest.unwrap_or_default()));
    };
    index.media_type = Some(media_type::INDEX.to_owned());
    index.manifests = entries;
    index.other.clear();
    let digest = (media::SOURCE_DIGEST, source.digest.clone());
    for (key, value) in [digest, (media::SOURCE_NAME, name.to_owned())] {
        index.annotations.insert(key.into(), value);
    }
    let bytes = index.to_bytes();
    let descriptor = Descriptor::of(media_type::INDEX, &bytes);
    // Artifacts that are found from their originals need no index without a tag.
    if tag.is_some() || images.iter().all(|(image, _)| image.subject.is_none()) {
        let put = target.put_manifest(&descriptor, &bytes, tag);
        pushed += usize::from(block_on(put)??);
    }
    Ok((pushed, descriptor.digest))
}

/// A directory for one run, made in the system's temporary directory.
///
/// # Errors
/// What the system says.
pub fn temporary_work() -> Result<tempfile::TempDir, ConvertError> {
    let made = tempfile::Builder::new()
        .prefix("tidegate-convert-")
        .tempdir();
    let place: &Path = &std::env::temp_dir();
    made.map_err(ConvertError::io("make a directory in", place))
}
