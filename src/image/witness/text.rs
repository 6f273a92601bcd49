//! Bytes, digests and modes as text. Each value has one spelling and the others
//! are refused, so that no byte of a proof can be altered unnoticed.

use serde::{Deserialize, Serialize};

use crate::chunk::{DIGEST_LEN, Digest};
use crate::path_text;

/// A digest: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "&str", into = "String")]
pub struct Hash(pub Digest);

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.0.to_string()
    }
}

impl TryFrom<&str> for Hash {
    type Error = &'static str;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        let mut digest = [0; DIGEST_LEN];
        let lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut digest) {
            Ok(()) if lower => Ok(Self(Digest(digest))),
            _ => Err("a digest is not 64 lower-case hexadecimal digits"),
        }
    }
}

/// A root digest: `sha256:` and a [`struct@Hash`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "&str", into = "String")]
pub struct Root(pub Digest);

impl From<Root> for String {
    fn from(root: Root) -> Self {
        format!("sha256:{}", root.0)
    }
}

impl TryFrom<&str> for Root {
    type Error = &'static str;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        let hex = text.strip_prefix("sha256:");
        let hex = hex.ok_or("a root digest does not start with sha256:")?;
        Hash::try_from(hex).map(|hash| Self(hash.0))
    }
}

/// Any bytes as lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub Vec<u8>);

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        hex::encode(bytes.0)
    }
}

impl TryFrom<String> for Bytes {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
        match hex::decode(text) {
            Ok(bytes) if lower => Ok(Self(bytes)),
            _ => Err("a value is not lower-case hexadecimal digits"),
        }
    }
}

/// A name, path or target: text, with control characters, backslashes and what
/// is no UTF-8 as the escapes of [`path_text`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text(pub Vec<u8>);

impl From<Text> for String {
    fn from(text: Text) -> Self {
        path_text::show_relative(&text.0)
    }
}

impl TryFrom<String> for Text {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = path_text::read(&text).ok_or("a name has an unknown escape")?;
        if path_text::show_relative(&bytes) != text {
            return Err("a name is not in its usual spelling");
        }
        Ok(Self(bytes))
    }
}

/// Permission bits: four octal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "&str", into = "String")]
pub struct Mode(pub u16);

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        format!("{:04o}", mode.0)
    }
}

impl TryFrom<&str> for Mode {
    type Error = &'static str;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        let digits = text.len() == 4 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let mode = u16::from_str_radix(text, 8).ok().filter(|_| digits);
        mode.map(Self).ok_or("a mode is not four octal digits")
    }
}
