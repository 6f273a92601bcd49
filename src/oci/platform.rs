//! What an image runs on (OCI image specification 1.1, `image-index.md`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::manifest::Descriptor;

/// Operating system and processor, in Go's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// Such as `linux`.
    #[serde(default)]
    pub os: String,
    /// Such as `v7` of `arm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What the operating system must be able to do.
    #[serde(
        default,
        rename = "os.features",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_none"
    )]
    pub os_features: Vec<String>,
    /// Keys without a field.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Platform {
    /// Linux on the processor of this machine.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self {
            architecture: architecture.into(),
            os: "linux".into(),
            variant: variant.map(String::from),
            ..Self::default()
        }
    }

    /// How well `other` fits this platform: None if it does not, smaller is
    /// better.
    fn distance(&self, other: &Self) -> Option<usize> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        let variant = match (self.usual_variant(), other.usual_variant()) {
            (wanted, found) if wanted == found => 0,
            // Unless one was named, an older variant is better than a newer.
            (_, found) if self.variant.is_none() => found
                .trim_start_matches('v')
                .parse::<usize>()
                .map_or(64, |number| number.min(32)),
            _ => return None,
        };
        // An image for a runtime with special abilities is the last choice.
        Some(variant + 128 * other.os_features.len().min(8))
    }

    /// The variant, or what is meant where there is none.
    fn usual_variant(&self) -> &str {
        match (self.variant.as_deref(), self.architecture.as_str()) {
            (Some(variant), _) if !variant.is_empty() => variant,
            (_, "amd64") => "v1",
            (_, "arm64") => "v8",
            (_, "arm") => "v7",
            _ => "",
        }
    }

    /// Whether an image for `other` is one for this platform.
    pub fn accepts(&self, other: &Self) -> bool {
        self.distance(other).is_some()
    }

    /// The manifest of an index that fits best; the first of equals.
    pub fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let fitting = manifests.iter().filter_map(|manifest| {
            let distance = self.distance(manifest.platform.as_ref()?)?;
            Some((distance, manifest))
        });
        fitting
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, manifest)| manifest)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

/// A text that is no platform.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} is no platform: write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, as linux/arm64")]
pub struct NoPlatform(String);

impl FromStr for Platform {
    type Err = NoPlatform;

    fn from_str(text: &str) -> Result<Self, NoPlatform> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(NoPlatform(text.into())),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(NoPlatform(text.into()));
        }
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self {
            architecture: architecture.into(),
            os: os.into(),
            variant: variant.map(String::from),
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: &str) -> Descriptor {
        Descriptor {
            digest: platform.into(),
            platform: Some(platform.parse().unwrap()),
            ..Descriptor::default()
        }
    }

    fn chosen<'a>(wanted: &str, from: &'a [Descriptor]) -> Option<&'a str> {
        let wanted: Platform = wanted.parse().unwrap();
        wanted.choose(from).map(|found| found.digest.as_str())
    }

    #[test]
    fn the_platform_that_fits_best_is_chosen() {
        let list: Vec<_> = [
            "unknown/unknown",
            "linux/amd64/v3",
            "linux/amd64/v1",
            "linux/arm64/v8",
            "linux/arm/v6",
            "linux/arm/v5",
            "windows/amd64",
        ]
        .map(entry)
        .into();
        assert_eq!(chosen("linux/amd64", &list), Some("linux/amd64/v1"));
        assert_eq!(chosen("linux/x86_64/v3", &list), Some("linux/amd64/v3"));
        assert_eq!(chosen("linux/arm64", &list), Some("linux/arm64/v8"));
        assert_eq!(chosen("linux/arm", &list), Some("linux/arm/v5"));
        assert_eq!(chosen("linux/arm/v7", &list), None);
        assert_eq!(chosen("linux/s390x", &list), None);
    }

    #[test]
    fn plain_images_come_before_those_with_features() {
        let mut list = [entry("linux/amd64"), entry("linux/amd64")];
        if let Some(platform) = &mut list[0].platform {
            platform.os_features = vec!["nydus.remoteimage.v1".into()];
        }
        list[1].digest = "plain".into();
        assert_eq!(chosen("linux/amd64", &list), Some("plain"));
    }

    #[test]
    fn only_two_or_three_words_are_a_platform() {
        for bad in ["", "linux", "linux/", "a/b/c/d", "/amd64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
