//! The keys of sources that need no account: directories and plain web servers.

use std::path::PathBuf;

use serde::Deserialize;

use super::network::{self, NETWORK_KEYS};
use super::{Shown, show_path};
use crate::config::document::Tree;
use crate::config::error::ConfigError;
use crate::config::model::{BackendConfig, HiddenUrl, HttpConfig, LocalConfig};
use crate::config::reader::{Reader, join};

pub(super) fn files(
    mut table: Tree,
    reader: &mut Reader,
    at: &str,
) -> Result<(BackendConfig, Shown), ConfigError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Keys {
        blob_file: PathBuf,
        dir: PathBuf,
        alt_dirs: Vec<PathBuf>,
    }
    // Of older versions; without effect there too.
    drop(table.split(&["readahead", "readahead_sec"]));
    let keys: Keys = reader.read(&table, at)?;
    let is_there = |path: &PathBuf| !path.as_os_str().is_empty();
    if !is_there(&keys.dir) && !is_there(&keys.blob_file) {
        return Err(reader.wrong(&join(at, "dir"), "is missing"));
    }
    let shown = Shown::from([
        ("blob_file", show_path(&keys.blob_file)),
        ("dir", show_path(&keys.dir)),
        (
            "alt_dirs",
            keys.alt_dirs.iter().map(|dir| show_path(dir)).collect(),
        ),
    ]);
    let dirs = std::iter::once(keys.dir).chain(keys.alt_dirs);
    let local = LocalConfig {
        blob_file: Some(keys.blob_file).filter(is_there),
        dirs: dirs.filter(is_there).collect(),
    };
    Ok((BackendConfig::Local(local), shown))
}

pub(super) fn http(
    mut table: Tree,
    reader: &mut Reader,
    at: &str,
) -> Result<(BackendConfig, Shown), ConfigError> {
    #[derive(Deserialize)]
    struct Keys {
        addr: String,
        #[serde(default)]
        path: String,
    }
    let network = table.split(&NETWORK_KEYS);
    let keys: Keys = reader.read(&table, at)?;
    let key = join(at, "addr");
    let address = if keys.addr.starts_with('/') {
        Err(PathBuf::from(&keys.addr))
    } else if keys.addr.starts_with("http://") || keys.addr.starts_with("https://") {
        Ok(HiddenUrl::from(reader.url(&key, &keys.addr)?))
    } else {
        let reason = "is neither http://… nor https://… nor the absolute path of a socket";
        return Err(reader.wrong(&key, reason));
    };
    let (network, mut shown) = network::parse(network, reader, at)?;
    let addr = match &address {
        Ok(url) => url.to_string().into(),
        Err(path) => show_path(path),
    };
    shown.extend(Shown::from([
        ("addr", addr),
        ("path", keys.path.clone().into()),
    ]));
    let http = HttpConfig {
        address,
        path: keys.path,
        network,
    };
    Ok((BackendConfig::Http(http), shown))
}
