use std::fs;

use super::*;
use crate::oci::manifest::media_type;
use crate::oci::{OciImage, Platform};

/// A layout that is made by hand.
struct Made {
    dir: tempfile::TempDir,
    index: Index,
}

impl Made {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        let marker = r#"{"imageLayoutVersion":"1.0.0"}"#;
        fs::write(dir.path().join("oci-layout"), marker).unwrap();
        let index = Index::default();
        Self { dir, index }
    }

    fn blob(&self, kind: &str, bytes: &[u8]) -> Descriptor {
        let blob = Descriptor::of(kind, bytes);
        fs::write(self.path(&blob), bytes).unwrap();
        blob
    }

    fn path(&self, blob: &Descriptor) -> PathBuf {
        let hex = blob.digest.strip_prefix("sha256:").unwrap();
        self.dir.path().join("blobs/sha256").join(hex)
    }

    fn image(&self, architecture: &str, layers: &[&[u8]]) -> Descriptor {
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| self.blob(media_type::LAYER, layer))
            .collect();
        let ids: Vec<_> = layers.iter().map(|layer| layer.digest.clone()).collect();
        let config = serde_json::json!({
            "architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": ids}
        });
        let config = self.blob(media_type::CONFIG, config.to_string().as_bytes());
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        self.blob(media_type::MANIFEST, manifest.to_string().as_bytes())
    }

    fn several(&self, platforms: &[&str]) -> Descriptor {
        let manifests = platforms.iter().map(|platform| Descriptor {
            platform: Some(platform.parse().unwrap()),
            ..self.image(platform.split('/').nth(1).unwrap(), &[platform.as_bytes()])
        });
        let index = Index {
            manifests: manifests.collect(),
            ..Index::default()
        };
        self.blob(
            media_type::INDEX,
            serde_json::to_string(&index).unwrap().as_bytes(),
        )
    }

    fn tag(&mut self, tag: &str, mut entry: Descriptor) -> &mut Self {
        entry.annotations.insert(REF_NAME.into(), tag.into());
        self.index.manifests.push(entry);
        self
    }

    fn open(&self) -> Layout {
        let index = serde_json::to_string(&self.index).unwrap();
        fs::write(self.dir.path().join("index.json"), index).unwrap();
        Layout::open(self.dir.path()).unwrap()
    }
}

fn read(layout: &Layout, name: Option<&str>, platform: &str) -> Result<OciImage, OciError> {
    let platform: Platform = platform.parse().unwrap();
    OciImage::read(layout, layout.find(name)?, Some(&platform))
}

#[test]
fn images_are_found_by_tag_digest_or_being_alone() {
    let mut made = Made::new();
    let first = made.image("amd64", &[b"1"]);
    made.tag("one", first.clone());
    assert_eq!(made.open().find(None).unwrap().digest, first.digest);
    let second = made.image("amd64", &[b"2"]);
    made.tag("registry.example/app:two", second.clone());
    let layout = made.open();
    for name in ["registry.example/app:two", "two", &second.digest] {
        assert_eq!(layout.find(Some(name)).unwrap().digest, second.digest);
    }
    let error = layout.find(None).unwrap_err().to_string();
    assert!(error.contains("one, registry.example/app:two"), "{error}");
    let error = layout.find(Some("three")).unwrap_err().to_string();
    assert!(error.contains("no image three; it has one, reg"), "{error}");
}

#[test]
fn the_image_of_the_platform_is_read_from_nested_indexes() {
    let mut made = Made::new();
    let index = made.several(&["linux/amd64", "linux/arm64/v8"]);
    let outer = Index {
        manifests: vec![index],
        ..Index::default()
    };
    let outer = made.blob(
        media_type::INDEX,
        serde_json::to_string(&outer).unwrap().as_bytes(),
    );
    made.tag("all", outer);
    let layout = made.open();
    let image = read(&layout, None, "linux/arm64").unwrap();
    assert_eq!(image.platform.to_string(), "linux/arm64");
    let mut layer = Vec::new();
    let mut reader = layout.open(&image.layers[0].descriptor).unwrap();
    reader.read_to_end(&mut layer).unwrap();
    assert_eq!(layer, b"linux/arm64/v8");
    assert_eq!(image.layers[0].diff_id, Some(image.layers[0].digest));
    let error = read(&layout, None, "linux/s390x").unwrap_err().to_string();
    assert!(
        error.contains("linux/s390x; it has linux/amd64, linux/arm64/v8"),
        "{error}"
    );
    let all = image::list_manifests(&layout, layout.find(None).unwrap()).unwrap();
    assert_eq!(all.len(), 2);
}

#[test]
fn a_named_platform_must_be_that_of_the_only_image() {
    let mut made = Made::new();
    let only = made.image("arm64", &[]);
    made.tag("it", only);
    let layout = made.open();
    assert!(read(&layout, None, "linux/amd64").is_err());
    assert!(OciImage::read(&layout, layout.find(None).unwrap(), None).is_ok());
}

#[test]
fn blobs_that_are_not_what_their_digest_says_are_refused() {
    let mut made = Made::new();
    let image = made.image("amd64", &[b"layer"]);
    made.tag("it", image.clone());
    let layout = made.open();
    let found = read(&layout, None, "linux/amd64").unwrap();
    let layer = &found.layers[0].descriptor;
    for other in [&b"lyaer"[..], b"laye", b"layers"] {
        fs::write(made.path(layer), other).unwrap();
        let mut reader = layout.open(layer).unwrap();
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }
    fs::write(made.path(&image), "{}").unwrap();
    assert!(read(&layout, None, "linux/amd64").is_err());
    fs::remove_file(made.path(&image)).unwrap();
    assert!(read(&layout, None, "linux/amd64").is_err());
}

#[test]
fn indexes_that_hold_themselves_end() {
    let mut made = Made::new();
    let mut inner = made.image("amd64", &[]);
    for _ in 0..8 {
        let index = Index {
            manifests: vec![inner],
            ..Index::default()
        };
        inner = made.blob(
            media_type::INDEX,
            serde_json::to_string(&index).unwrap().as_bytes(),
        );
    }
    made.tag("deep", inner);
    let error = read(&made.open(), None, "linux/amd64").unwrap_err();
    assert!(error.to_string().contains("not followed"), "{error}");
}

#[test]
fn what_is_no_image_is_refused_by_its_type() {
    let mut made = Made::new();
    let helm = made.blob("application/vnd.cncf.helm.config.v1+json", b"{}");
    made.tag("helm", helm);
    let error = read(&made.open(), None, "linux/amd64").unwrap_err();
    assert!(error.to_string().contains("helm"), "{error}");
    assert!(Layout::open(Path::new("/nonexistent")).is_err());
}

#[test]
fn paths_and_names_are_split_where_the_path_exists() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("a:b");
    fs::create_dir(&odd).unwrap();
    let odd = odd.to_str().unwrap();
    let split = |text: &str| {
        let (path, name) = Layout::split(text);
        (path.to_str().unwrap().to_owned(), name)
    };
    let named = |name: &str| (odd.to_owned(), Some(name.to_owned()));
    assert_eq!(split(odd), (odd.to_owned(), None));
    assert_eq!(split(&format!("{odd}:tag")), named("tag"));
    assert_eq!(
        split(&format!("{odd}:r.example:5/a:1")),
        named("r.example:5/a:1")
    );
    assert_eq!(split(&format!("{odd}@sha256:00")), named("sha256:00"));
    assert_eq!(split("/none:tag"), ("/none".into(), Some("tag".into())));
}
