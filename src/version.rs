//! What this build is: for `--version`, the API and the metrics.

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What names this build: the commit that was given as `TIDEGATE_COMMIT` when it
/// was made, else the version. Never empty: clients compare it with what the API
/// says and take an empty one for an error.
pub const COMMIT: &str = match option_env!("TIDEGATE_COMMIT") {
    Some(commit) if !commit.is_empty() => commit,
    _ => concat!("v", env!("CARGO_PKG_VERSION")),
};

/// How it was optimized.
pub const PROFILE: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};
