//! How registries are reached: options that several subcommands share.

use std::path::PathBuf;

use clap::Args;

use crate::backend::registry::credentials::{Credentials, docker_config};
use crate::oci::repository::{Access, PlainHttp};

/// How registries are reached.
#[derive(Debug, Args)]
pub(super) struct RegistryOptions {
    /// Speak HTTP without TLS: to all registries, or to those that are named.
    #[arg(long, value_name = "REGISTRY", num_args = 0..=1, require_equals = true,
          default_missing_value = "")]
    plain_http: Vec<String>,
    /// Accept any certificate of a registry.
    #[arg(long)]
    skip_verify: bool,
    /// PEM file of certificate authorities that are trusted besides the
    /// system's; may be given several times.
    #[arg(long, value_name = "FILE")]
    ca_cert: Vec<PathBuf>,
    /// Configuration of docker with the credentials of registries; by default
    /// where docker keeps it.
    #[arg(long, value_name = "FILE")]
    docker_config: Option<PathBuf>,
}

impl RegistryOptions {
    /// The same, as the registries' client takes it.
    pub(super) fn access(&self) -> Access {
        let config = self.docker_config.clone().or_else(docker_config);
        let plain_http = match &self.plain_http[..] {
            [] => PlainHttp::Never,
            names if names.iter().any(String::is_empty) => PlainHttp::Always,
            names => PlainHttp::For(names.to_vec()),
        };
        Access {
            plain_http,
            skip_verify: self.skip_verify,
            ca_cert_files: self.ca_cert.clone(),
            credentials: config.map_or_else(Credentials::anonymous, Credentials::docker),
        }
    }
}
