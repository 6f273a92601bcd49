//! Media types and annotations of converted images: those that
//! nydus-snapshotter and nydusd look for, and our own.

/// The configuration of an artifact that has none: `{}`.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A blob of chunks, which a snapshotter does not download.
pub const NYDUS_BLOB: &str = "application/vnd.oci.image.layer.nydus.blob.v1";
/// What a manifest is that stands beside the plain image.
pub const NYDUS_ARTIFACT: &str = "application/vnd.nydus.image.manifest.v1+json";

/// Marks a layer that is a blob of chunks.
pub const IS_NYDUS_BLOB: &str = "containerd.io/snapshot/nydus-blob";
/// Names the unchanged layer that a blob is the index of.
pub const NYDUS_REF: &str = "containerd.io/snapshot/nydus-ref";
/// Marks the layer that holds the bootstrap.
pub const IS_NYDUS_BOOTSTRAP: &str = "containerd.io/snapshot/nydus-bootstrap";
/// The version of the bootstrap's format.
pub const NYDUS_FS_VERSION: &str = "containerd.io/snapshot/nydus-fs-version";

/// The root digest that pins an image: `sha256:` and 64 digits.
pub const ROOT: &str = "dev.tidegate.root";
/// The digest of the manifest that an image was converted from.
pub const SOURCE_DIGEST: &str = "dev.tidegate.source.digest";
/// Its name.
pub const SOURCE_NAME: &str = "dev.tidegate.source.name";
