//! An OCI image layout, made layer by layer.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::servers::blob_id;

/// A media type of OCI.
fn media(kind: &str) -> String {
    format!("application/vnd.oci.image.{kind}")
}

/// A layout in a directory of its own.
#[derive(Debug)]
pub struct Layout {
    dir: TempDir,
    entries: Vec<Value>,
}

/// A layer: its descriptor and the digest of its archive.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Descriptor of the compressed archive.
    pub descriptor: Value,
    /// Digest without compression.
    pub diff_id: String,
}

impl Layer {
    /// `sha256:HEX` of the compressed archive.
    pub fn digest(&self) -> &str {
        self.descriptor["digest"].as_str().unwrap_or_default()
    }
}

impl Layout {
    /// An empty layout.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::create_dir_all(dir.path().join("blobs/sha256"))?;
        fs::write(
            dir.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        let entries = Vec::new();
        Ok(Self { dir, entries })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `oci:DIR:TAG`.
    pub fn name(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.path().display())
    }

    /// The file of a blob.
    pub fn file(&self, digest: &str) -> PathBuf {
        self.path().join("blobs").join(digest.replace(':', "/"))
    }

    /// A layer of these files: name and content; a name that ends with a slash
    /// is a directory.
    ///
    /// # Errors
    /// What the system says.
    pub fn layer(&self, files: &[(&str, &[u8])]) -> io::Result<Layer> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            let directory = name.ends_with('/');
            header.set_entry_type(match directory {
                true => tar::EntryType::Directory,
                false => tar::EntryType::Regular,
            });
            header.set_mode(if directory { 0o755 } else { 0o644 });
            header.set_size(content.len() as u64);
            header.set_mtime(1_600_000_000);
            builder.append_data(&mut header, name, *content)?;
        }
        let archive = builder.into_inner()?;
        let diff_id = format!("sha256:{}", blob_id(&archive));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&archive)?;
        let descriptor = self.blob(&gzip.finish()?, &media("layer.v1.tar+gzip"))?;
        Ok(Layer {
            descriptor,
            diff_id,
        })
    }

    /// Keeps a blob: its descriptor.
    ///
    /// # Errors
    /// What the system says.
    pub fn blob(&self, bytes: &[u8], kind: &str) -> io::Result<Value> {
        let digest = format!("sha256:{}", blob_id(bytes));
        fs::write(self.file(&digest), bytes)?;
        Ok(json!({ "mediaType": kind, "digest": digest, "size": bytes.len() }))
    }

    /// An image of these layers: the descriptor of its manifest.
    ///
    /// # Errors
    /// What the system says.
    pub fn image(&self, architecture: &str, layers: &[Layer]) -> io::Result<Value> {
        let ids: Vec<&str> = layers.iter().map(|layer| &*layer.diff_id).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2020-01-01T00:00:00Z",
            "config": { "Env": ["A=b"], "Entrypoint": ["/bin/sh"] },
            "rootfs": { "type": "layers", "diff_ids": ids },
            "history": ids.iter().map(|id| json!({ "created_by": id })).collect::<Vec<_>>(),
        });
        let config = self.blob(config.to_string().as_bytes(), &media("config.v1+json"))?;
        let layers: Vec<&Value> = layers.iter().map(|layer| &layer.descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media("manifest.v1+json"),
            "config": config, "layers": layers,
        });
        self.blob(manifest.to_string().as_bytes(), &media("manifest.v1+json"))
    }

    /// An index of these manifests, each with a platform: its descriptor.
    ///
    /// # Errors
    /// What the system says.
    pub fn index(&self, manifests: &[(&Value, Value)]) -> io::Result<Value> {
        let manifests = manifests.iter().map(|(manifest, platform)| {
            let mut manifest = (*manifest).clone();
            manifest["platform"] = platform.clone();
            manifest
        });
        let index = json!({
            "schemaVersion": 2, "mediaType": media("index.v1+json"),
            "manifests": manifests.collect::<Vec<_>>(),
        });
        self.blob(index.to_string().as_bytes(), &media("index.v1+json"))
    }

    /// Enters a manifest or index under a tag.
    ///
    /// # Errors
    /// What the system says.
    pub fn tag(&mut self, descriptor: &Value, tag: &str) -> io::Result<()> {
        let mut entry = descriptor.clone();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        self.entries.push(entry);
        let index = json!({ "schemaVersion": 2, "manifests": self.entries });
        fs::write(self.path().join("index.json"), index.to_string())
    }
}
