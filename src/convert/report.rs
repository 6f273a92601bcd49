//! What a conversion did.

use serde::Serialize;

use crate::oci::repository::Delivery;

/// What a conversion did; with `--json` it is printed so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// What was converted.
    pub source: Named,
    /// What it was converted to. Without a tag the digest is all there is.
    pub target: Named,
    /// One per platform.
    pub images: Vec<ImageReport>,
    /// Manifests of the source that were left out, and why.
    pub left_out: Vec<LeftOut>,
    /// Signatures of the source that were found and are beside the target now.
    pub signatures: Vec<String>,
    /// Sums over all images.
    pub totals: Totals,
}

/// A name and what it leads to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// `sha256:HEX` of the manifest or index.
    pub digest: String,
}

/// A manifest that was left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LeftOut {
    /// Its digest.
    pub digest: String,
    /// Why.
    pub reason: String,
}

/// One image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ImageReport {
    /// `linux/amd64`.
    pub platform: String,
    /// Digest of the manifest that it was made of.
    pub source: String,
    /// Digest of its own manifest.
    pub digest: String,
    /// `sha256:HEX` that pins it, where it is an image of chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The layers that it was made of.
    pub layers: Vec<LayerReport>,
    /// What its manifest refers to, and how that came there.
    pub blobs: Vec<BlobReport>,
}

/// A layer of the source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LayerReport {
    /// Its digest.
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
    /// Bytes of it that were read.
    pub read: u64,
    /// Whether it was converted before: then nothing of it was read.
    pub reused: bool,
}

/// A blob that an image refers to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BlobReport {
    /// Its digest.
    pub digest: String,
    /// What it is.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it was there, was mounted, or had to be sent.
    pub delivery: Delivery,
}

/// Sums. A blob of several images counts once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Totals {
    /// Bytes of layers that were read.
    pub read_bytes: u64,
    /// Bytes of chunk data that were sent.
    pub uploaded_data_bytes: u64,
    /// Bytes of everything else that were sent: bootstraps, configurations,
    /// records of layers. Manifests are not counted.
    pub uploaded_other_bytes: u64,
    /// Bytes that another repository had.
    pub mounted_bytes: u64,
    /// Bytes that were there.
    pub present_bytes: u64,
    /// Manifests and indexes that were not there.
    pub manifests: usize,
}
