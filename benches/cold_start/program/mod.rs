//! Starts of real programs: recorded once as the requests that the kernel made
//! of a mounted image, replayed one by one.
//!
//! A recording is a text of one request a line, fields separated by tabs:
//! `look PATH`, `read OFFSET LENGTH PATH`, `list PATH`, `link PATH`.

mod record;
pub(crate) mod replay;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::world;

pub(crate) use record::record;

/// A program of a tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// Which tree it is in.
    pub(crate) tree: Tree,
    /// A shell command, run in the tree.
    pub(crate) command: &'static str,
}

/// The trees that `scripts/bench-cold-start` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tree {
    /// Debian with python3.
    Python,
    /// Debian with node, a JVM and git.
    Servers,
}

/// An HTTP server that answers one request and ends.
const NODE_SERVER: &str = "exec node -e 'const http = require(\"http\"); \
    const server = http.createServer((question, answer) => answer.end(\"ok\")); \
    server.listen(0, \"127.0.0.1\", () => http.get({ port: server.address().port, \
    host: \"127.0.0.1\" }, () => process.exit(0)))'";

pub(crate) const PROGRAMS: [Program; 3] = [
    Program {
        name: "python3",
        tree: Tree::Python,
        command: "exec python3 -c 'import json, ssl, http.client'",
    },
    Program {
        name: "node server",
        tree: Tree::Servers,
        command: NODE_SERVER,
    },
    Program {
        name: "JVM",
        tree: Tree::Servers,
        command: "exec java -version",
    },
];

/// One request of a program's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Look(PathBuf),
    Read {
        path: PathBuf,
        offset: u64,
        len: usize,
    },
    List(PathBuf),
    Link(PathBuf),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Look(path) => write!(f, "look\t{}", path.display()),
            Self::Read { path, offset, len } => {
                write!(f, "read\t{offset}\t{len}\t{}", path.display())
            }
            Self::List(path) => write!(f, "list\t{}", path.display()),
            Self::Link(path) => write!(f, "link\t{}", path.display()),
        }
    }
}

impl Step {
    fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once('\t')?;
        Some(match kind {
            "look" => Self::Look(rest.into()),
            "list" => Self::List(rest.into()),
            "link" => Self::Link(rest.into()),
            "read" => {
                let mut fields = rest.splitn(3, '\t');
                Self::Read {
                    offset: fields.next()?.parse().ok()?,
                    len: fields.next()?.parse().ok()?,
                    path: fields.next()?.into(),
                }
            }
            _ => return None,
        })
    }
}

impl Program {
    /// The recording, made now if it is not kept in `store` yet.
    pub(crate) fn steps(
        &self,
        source: &Path,
        store: &Path,
        bootstrap: &Path,
        blobs: &Path,
    ) -> io::Result<Vec<Step>> {
        let name = format!("{}.steps", self.name.replace(' ', "-"));
        let file = world::home(source, store)?.join(name);
        if !file.exists() {
            let steps = record(self, bootstrap, blobs)?;
            let text: String = steps.iter().map(|step| format!("{step}\n")).collect();
            fs::write(&file, text)?;
        }
        fs::read_to_string(&file)?
            .lines()
            .map(|line| {
                Step::parse(line).ok_or_else(|| {
                    io::Error::other(format!("{} is damaged; remove it", file.display()))
                })
            })
            .collect()
    }
}
