//! The options by which a directory of the host is served.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Failure;
use crate::fs::passthrough::{Cache, Options, PassthroughFs};

#[derive(Debug, Args)]
#[command(next_help_heading = "Directory of the host")]
pub(super) struct DirectoryOptions {
    /// Directory of the host to serve, for reading and writing, at the root of the
    /// device. An image that --bootstrap names is at /image then.
    #[arg(long, value_name = "DIR")]
    shared_dir: Option<PathBuf>,
    /// What the guest may keep of it: never, auto, metadata or always.
    #[arg(
        id = "dir_cache",
        long = "cache-mode",
        value_name = "MODE",
        default_value = "auto",
        requires = "shared_dir"
    )]
    cache: Cache,
    /// Pass extended attributes through, which an overlayfs upper needs.
    #[arg(long, requires = "shared_dir")]
    xattr: bool,
    /// Pass access control lists through, and have the guest obey them.
    #[arg(long, requires = "xattr")]
    posix_acl: bool,
    /// Tell the guest where other file systems are mounted in the directory.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set, requires = "shared_dir")]
    announce_submounts: bool,
    /// Refuse all that would change the directory.
    #[arg(long, requires = "shared_dir")]
    read_only: bool,
}

impl DirectoryOptions {
    /// Where the image is when a directory has the root.
    pub(super) const IMAGE_BESIDE: &str = "/image";

    /// Whether a directory is named.
    pub(super) fn is_named(&self) -> bool {
        self.shared_dir.is_some()
    }

    /// Opens the directory that is named.
    pub(super) fn open(&self) -> Result<PassthroughFs, Failure> {
        let dir = self
            .shared_dir
            .as_deref()
            .ok_or("--shared-dir is missing")?;
        let options = Options {
            cache: self.cache,
            xattr: self.xattr,
            posix_acl: self.posix_acl,
            announce_submounts: self.announce_submounts,
            read_only: self.read_only,
            ..Options::default()
        };
        Ok(PassthroughFs::new(dir, options)?)
    }
}
