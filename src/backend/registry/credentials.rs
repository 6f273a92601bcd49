//! Who asks a registry: given, from the environment, or as docker keeps them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::backend::secret::Secret;

/// Base64 with or without padding, as people write it into configurations.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What proves who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credential {
    /// A user and a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token, which is exchanged for access tokens.
    Identity(Secret),
    /// An access token, which is sent as it is (`registry_token`).
    Bearer(Secret),
}

impl Credential {
    /// Reads `auth`: base64 of `user:password`.
    ///
    /// # Errors
    /// When it is neither; the text is not repeated.
    pub fn from_auth(auth: &str) -> Result<Self, BadAuth> {
        let bytes = LENIENT.decode(auth.trim()).map_err(|_| BadAuth)?;
        let bytes = Zeroizing::new(bytes);
        let text = std::str::from_utf8(&bytes).map_err(|_| BadAuth)?;
        let (user, password) = text.split_once(':').ok_or(BadAuth)?;
        Ok(Self::Basic {
            user: user.to_owned(),
            // docker pads some passwords with NUL.
            password: password.trim_end_matches('\0').into(),
        })
    }
}

/// A value of `auth` that holds no user and password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("The value is not base64 of user:password")]
pub struct BadAuth;

/// The credentials of a source: a handle that is shared by cloning. What
/// [`replace`](Self::replace) sets is used from the next request on.
#[derive(Clone)]
pub struct Credentials(Arc<Mutex<State>>);

struct State {
    origin: Origin,
    /// Changes with each replacement.
    generation: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// Nobody in particular.
    Anonymous,
    /// As given.
    Given(Credential),
    /// Looked up in docker's `config.json` when they are needed.
    Docker(PathBuf),
}

impl Credentials {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::from_origin(Origin::Anonymous)
    }

    /// One credential.
    pub fn given(credential: Credential) -> Self {
        Self::from_origin(Origin::Given(credential))
    }

    /// Those that `config`, a docker `config.json`, has for the registry:
    /// `credHelpers`, `auths`, then `credsStore`. The file is read when they
    /// are needed, and again when the registry refuses them.
    pub fn docker(config: PathBuf) -> Self {
        Self::from_origin(Origin::Docker(config))
    }

    /// Sets what is used from the next request on; `None` asks anonymously.
    pub fn replace(&self, credential: Option<Credential>) {
        let mut state = self.0.lock();
        state.origin = credential.map_or(Origin::Anonymous, Origin::Given);
        state.generation = state.generation.wrapping_add(1);
    }

    /// Whether nobody in particular asks.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.0.lock().origin, Origin::Anonymous)
    }

    fn from_origin(origin: Origin) -> Self {
        let generation = 0;
        Self(Arc::new(Mutex::new(State { origin, generation })))
    }

    /// What they are, and a number that changes when they are replaced.
    pub(super) fn origin(&self) -> (Origin, u64) {
        let state = self.0.lock();
        (state.origin.clone(), state.generation)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

pub use super::docker::names_helpers;

/// Where docker keeps its configuration: `$DOCKER_CONFIG/config.json`, else
/// `~/.docker/config.json`, if that file exists.
pub fn docker_config() -> Option<PathBuf> {
    let dir = match std::env::var_os("DOCKER_CONFIG") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => Path::new(&std::env::var_os("HOME")?).join(".docker"),
    };
    let file = dir.join("config.json");
    file.is_file().then_some(file)
}

/// The credential of the variable `IMAGE_PULL_AUTH`, which goes before what a
/// configuration says.
///
/// # Errors
/// When the variable is set and is no base64 of `user:password`.
pub fn from_env() -> Result<Option<Credential>, BadAuth> {
    match std::env::var("IMAGE_PULL_AUTH") {
        Ok(auth) if !auth.is_empty() => Credential::from_auth(&auth).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auth_is_read_with_and_without_padding() {
        let wanted = Credential::Basic {
            user: "user".into(),
            password: "pa:ss".into(),
        };
        for auth in ["dXNlcjpwYTpzcw==", "dXNlcjpwYTpzcw", " dXNlcjpwYTpzcw==\n"] {
            assert_eq!(Credential::from_auth(auth).as_ref(), Ok(&wanted), "{auth}");
        }
        for bad in ["", "user:pass", "dXNlcg==", "/w=="] {
            assert_eq!(Credential::from_auth(bad), Err(BadAuth), "{bad}");
        }
    }

    #[test]
    fn credentials_are_not_printed() {
        let credential = Credential::Basic {
            user: "user".into(),
            password: "hunter2".into(),
        };
        let text = format!(
            "{credential:?} {:?}",
            Credentials::given(credential.clone())
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
}
