//! Signatures of the original: they stay where they are, and stand beside the
//! converted image too when that is elsewhere. They vouch for the original's
//! digest, which the converted image names.
//!
//! cosign keeps them under the tag `sha256-<digest>.sig`:
//! <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>

use super::ConvertError;
use super::place::{Source, Target, block_on};
use super::uploads::in_memory;
use crate::oci::image;
use crate::oci::manifest::{Descriptor, Manifest};
use crate::oci::reference::Which;
use std::sync::Arc;

/// What the tags of signatures, attestations and bills of materials end with.
const KINDS: [&str; 3] = ["sig", "att", "sbom"];

/// Longest piece of a signature that is taken.
const PIECE_MAX: u64 = 16 << 20;

/// Copies the signatures of these manifests from the source to the target, if
/// that is another repository: the names that they have now.
///
/// # Errors
/// When a registry does not answer, or does not take one.
pub(super) fn carry(
    source: &Source,
    target: &Target,
    digests: &[String],
) -> Result<Vec<String>, ConvertError> {
    let Some((name, repository)) = &source.repository else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for digest in digests {
        for kind in KINDS {
            let tag = format!("{}.{kind}", digest.replace(':', "-"));
            let which = Which::Tag(tag.clone());
            let Some(signature) = block_on(repository.manifest(&which))?? else {
                continue;
            };
            if target.place() != name.place() {
                let what = format!("Signature {tag}");
                let manifest: Manifest =
                    image::parse(source.blobs.as_ref(), &what, &signature.bytes)?;
                for piece in manifest.layers.iter().chain([&manifest.config]) {
                    let bytes = block_on(repository.blob("a signature", piece, PIECE_MAX))??;
                    let (descriptor, payload) = in_memory(&piece.media_type, bytes);
                    let digest = descriptor.sha256().unwrap_or_default();
                    block_on(target.put(&digest, &payload, &(Arc::new(|_| {}) as _)))??;
                }
                let descriptor = Descriptor::of(&signature.media_type, &signature.bytes);
                let put = target.put_manifest(&descriptor, &signature.bytes, Some(&tag));
                block_on(put)??;
            }
            found.push(format!("{}:{tag}", target.place()));
        }
    }
    Ok(found)
}
