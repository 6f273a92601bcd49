//! From a request to a directory of the host that can be served.

use serde::Deserialize;

use super::open::AttachError;
use crate::control::MountRequest;
use crate::fs::passthrough::{Options, PassthroughFs};

/// What the configuration of such a mount may say. Kata's runtimes send none;
/// keys that are not known are left out, as nydusd does.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    cache: Option<String>,
    xattr: Option<bool>,
    posix_acl: Option<bool>,
    announce_submounts: Option<bool>,
    read_only: Option<bool>,
}

/// Opens the directory that a request names.
pub(super) fn prepare(request: &MountRequest) -> Result<PassthroughFs, AttachError> {
    let text = request.config.reveal();
    let config: Config = match text.trim() {
        "" => Config::default(),
        text => serde_json::from_str(text).map_err(AttachError::DirectoryConfig)?,
    };
    let usual = Options::default();
    let options = Options {
        cache: match config.cache {
            Some(mode) => mode.parse()?,
            None => usual.cache,
        },
        xattr: config.xattr.unwrap_or(usual.xattr),
        posix_acl: config.posix_acl.unwrap_or(usual.posix_acl),
        announce_submounts: config
            .announce_submounts
            .unwrap_or(usual.announce_submounts),
        read_only: config.read_only.unwrap_or(usual.read_only),
        ..usual
    };
    Ok(PassthroughFs::new(request.source.as_ref(), options)?)
}
