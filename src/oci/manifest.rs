//! Descriptors, image indexes and manifests (OCI image specification 1.1,
//! `descriptor.md`, `image-index.md`, `manifest.md`; Docker's image manifest
//! version 2, schema 2, which has the same form).
//!
//! Keys that have no field here are kept in `other`, so that a document that is
//! read and written again loses nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::platform::Platform;
use crate::chunk::Digest;

/// Media types of documents.
pub mod media_type {
    /// An OCI image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An OCI image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer of an OCI image, a tar archive.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// A layer of an OCI image, compressed with gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A layer of an OCI image, compressed with zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker's list of manifests.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

    /// Whether a document of that type lists manifests.
    pub fn is_index(name: &str) -> bool {
        matches!(name, INDEX | DOCKER_INDEX)
    }

    /// Whether a document of that type is the manifest of an image.
    pub fn is_manifest(name: &str) -> bool {
        matches!(name, MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether a blob of that type is a tar archive of file system changes.
    /// How it is compressed is told by its first bytes.
    pub fn is_layer(name: &str) -> bool {
        const TYPES: [&str; 4] = [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ];
        TYPES.iter().any(|start| {
            let rest = name.strip_prefix(start);
            matches!(rest, Some("" | "+gzip" | "+zstd" | ".gzip" | ".zstd"))
        })
    }
}

/// The annotation of an index's entry that names it in an image layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Annotations of a document.
pub type Annotations = BTreeMap<String, String>;

/// A reference to a blob by what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// `ALGORITHM:HEX` of its bytes.
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
    /// Remarks.
    #[serde(
        default,
        skip_serializing_if = "none_or_empty",
        deserialize_with = "or_default"
    )]
    pub annotations: Annotations,
    /// What it runs on, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What kind of artifact a manifest is, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Keys without a field.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor of `bytes`.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        let digest = Digest(sha2::Sha256::digest(bytes).into());
        Self::new(media_type, &digest, bytes.len() as u64)
    }

    /// A descriptor of a blob whose SHA-256 is known.
    pub fn new(media_type: &str, digest: &Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest: format!("sha256:{digest}"),
            size,
            ..Self::default()
        }
    }

    /// The SHA-256; None if the digest is of another algorithm or malformed.
    pub fn sha256(&self) -> Option<Digest> {
        parse_digest(&self.digest)
    }
}

/// The SHA-256 of `sha256:HEX` with 64 lower-case digits; None for all else.
pub fn parse_digest(text: &str) -> Option<Digest> {
    let hex = text.strip_prefix("sha256:")?;
    let lower = hex
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if lower { Digest::parse(hex) } else { None }
}

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`media_type::INDEX`] or Docker's; may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests.
    #[serde(deserialize_with = "or_default")]
    pub manifests: Vec<Descriptor>,
    /// Remarks.
    #[serde(
        default,
        skip_serializing_if = "none_or_empty",
        deserialize_with = "or_default"
    )]
    pub annotations: Annotations,
    /// Keys without a field.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::INDEX.into()),
            manifests: Vec::new(),
            annotations: Annotations::new(),
            other: Map::new(),
        }
    }
}

/// One image: its configuration and layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`media_type::MANIFEST`] or Docker's; may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact it is, where it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Remarks.
    #[serde(
        default,
        skip_serializing_if = "none_or_empty",
        deserialize_with = "or_default"
    )]
    pub annotations: Annotations,
    /// Keys without a field.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Index {
    /// Its bytes, the same each time.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

impl Manifest {
    /// An OCI manifest of these parts.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.into()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: Annotations::new(),
            other: Map::new(),
        }
    }

    /// Its bytes, the same each time.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

/// Writing a document whose keys are text to memory does not fail.
fn to_bytes(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}

/// Some writers say `null` for nothing.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn none_or_empty(annotations: &Annotations) -> bool {
    annotations.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_field_is_written_again() {
        let text = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::MANIFEST,
            "config": {"mediaType": media_type::CONFIG, "digest": "sha256:00", "size": 2},
            "layers": [{
                "mediaType": media_type::LAYER_GZIP, "digest": "sha512:11", "size": 3,
                "urls": ["http://a.example/b"], "x-site": {"a": [1]}
            }],
            "annotations": {"a": "b"},
            "x-own": 7
        });
        let manifest: Manifest = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(&manifest).unwrap(), text);
        assert_eq!(manifest.layers[0].sha256(), None);
    }

    #[test]
    fn null_is_nothing() {
        let text = r#"{"schemaVersion":2,"manifests":null,"annotations":null}"#;
        let index: Index = serde_json::from_str(text).unwrap();
        assert!(index.manifests.is_empty() && index.annotations.is_empty());
    }

    #[test]
    fn only_sha256_in_lower_case_is_a_digest() {
        let hex = "0123456789abcdef".repeat(4);
        assert!(parse_digest(&format!("sha256:{hex}")).is_some());
        for bad in [
            hex.clone(),
            format!("sha512:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:../{}", &hex[3..]),
        ] {
            assert_eq!(parse_digest(&bad), None, "{bad}");
        }
    }

    #[test]
    fn layers_are_known_by_their_media_type() {
        for good in [
            media_type::LAYER,
            media_type::LAYER_GZIP,
            media_type::LAYER_ZSTD,
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ] {
            assert!(media_type::is_layer(good), "{good}");
        }
        for bad in [
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            "application/vnd.oci.image.layer.nydus.blob.v1",
            "application/vnd.in-toto+json",
            "",
        ] {
            assert!(!media_type::is_layer(bad), "{bad}");
        }
    }
}
