//! Configurations as nydusd documents them, and what is said about wrong ones.

mod forms;
mod secrets;
mod wrong;

use super::*;

/// What is said about a configuration that must not be used.
fn refused(text: &str) -> String {
    let error = parse(text).expect_err(text);
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}

/// A first form whose backend is of this type with these keys.
fn v1(kind: &str, keys: &str) -> String {
    format!(
        r#"{{"device": {{"backend": {{"type": "{kind}", "config": {keys}}}}}, "mode": "direct"}}"#
    )
}

/// The backend of [`v1`].
fn backend(kind: &str, keys: &str) -> BackendConfig {
    let config = parse(&v1(kind, keys)).unwrap();
    assert!(config.unknown.is_empty(), "{:?}", config.unknown);
    let [source] = config.sources.as_slice() else {
        panic!("{:?}", config.sources);
    };
    assert_eq!(source.kind, kind);
    source.backend.clone()
}
