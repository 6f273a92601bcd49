//! The daemon that a conformance test talks to: `tidegate serve` on an image of
//! a tree, or, for comparison, whatever `TIDEGATE_TEST_COMMAND` names.
//!
//! The variable holds a command line of words without blanks; `{socket}`,
//! `{work}` and `{source}` (the tree) are replaced. Such a daemon is started
//! again when it has ended, since some end with their connection, and a test
//! only reports the requests that it did not survive if
//! `TIDEGATE_TEST_LENIENT` is set.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::daemon::Daemon;
use super::frontend::Config;
use super::image::{self, Image};
use super::session::Session;

/// A tree, and the daemon that serves it.
pub struct Target {
    /// The tree and, if Tidegate serves it, the image.
    pub image: Image,
    foreign: Option<String>,
    arguments: Vec<String>,
    daemon: Option<Daemon>,
}

impl Target {
    /// Makes a tree with `fill` and gets it ready to be served, by Tidegate
    /// with these further arguments.
    ///
    /// # Panics
    /// When the tree or the image cannot be made.
    pub fn new(fill: impl FnOnce(&Path) -> io::Result<()>, arguments: &[&str]) -> Self {
        let foreign = env::var("TIDEGATE_TEST_COMMAND").ok();
        let image = if foreign.is_some() {
            image::source_only(fill).expect("the tree can be made")
        } else {
            image::build(fill, &[]).expect("the image can be built")
        };
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self {
            image,
            foreign,
            arguments,
            daemon: None,
        }
    }

    /// Whether the daemon is a foreign one.
    pub fn is_foreign(&self) -> bool {
        self.foreign.is_some()
    }

    /// Whether failures of the daemon are only to be reported.
    pub fn is_lenient(&self) -> bool {
        self.is_foreign() && env::var_os("TIDEGATE_TEST_LENIENT").is_some()
    }

    /// The running daemon; starts it if need be.
    ///
    /// # Panics
    /// When Tidegate has ended by itself or cannot be started.
    pub fn daemon(&mut self) -> &mut Daemon {
        let status = self
            .daemon
            .as_mut()
            .and_then(|d| d.ended().expect("its status"));
        if let (Some(status), None) = (status, &self.foreign) {
            let complaints = self
                .daemon
                .as_ref()
                .map(Daemon::complaints)
                .unwrap_or_default();
            panic!("the daemon has ended with {status}: {complaints}");
        }
        if self.daemon.is_none() || status.is_some() {
            self.daemon = Some(self.start().expect("the daemon starts"));
        }
        self.daemon.as_mut().expect("a daemon was started")
    }

    fn start(&self) -> io::Result<Daemon> {
        let Some(command) = &self.foreign else {
            let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
            return self.image.serve(&arguments);
        };
        let source = self.image.source();
        let source = source.to_string_lossy();
        let line: Vec<OsString> = command
            .split_whitespace()
            .map(|w| w.replace("{source}", &source).into())
            .collect();
        Daemon::command(&line)
    }

    /// A fresh connection with INIT done.
    ///
    /// # Panics
    /// When the daemon does not answer.
    pub fn mount(&mut self, config: &Config) -> Session {
        if self.is_foreign() {
            // One that ends with its connection may not have got to it yet.
            self.daemon = None;
        }
        let daemon = self.daemon();
        match daemon.mount(config) {
            Ok(session) => session,
            Err(failure) => panic!("no mount: {failure:?}; {}", daemon.complaints()),
        }
    }
}
