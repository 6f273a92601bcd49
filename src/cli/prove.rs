//! `tidegate prove`: proofs of single files, for those who have no image.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde::Serialize;

use crate::chunk::Digest;
use crate::cli::image_options::ImageOptions;
use crate::cli::{Failure, Outcome};
use crate::image::witness::document::Node;
use crate::image::witness::{self, Proved};
use crate::path_text::show;

/// Longest proof that is read, in bytes. The proof of a file of 1 TiB in chunks
/// of 1 MiB has 70 MB.
const PROOF_MAX: u64 = 1 << 30;

/// What is wanted: the form depends on `--check`.
#[derive(Debug)]
pub(super) enum Arguments {
    /// Make a proof.
    Make(Box<ImageOptions>, Make),
    /// Check one, against the root digest if that is known.
    Check(Check, Option<Digest>),
}

#[derive(Debug, Args)]
pub(super) struct Make {
    /// Path in the image. Links are not followed.
    #[arg(required_unless_present = "check")]
    path: Option<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Check the proof in this file (`-`: standard input) without any image;
    /// --root is the digest that it must lead to.
    #[arg(long, value_name = "PROOF", conflicts_with_all = ["path", "bootstrap"])]
    check: Option<PathBuf>,
    /// Check too that this file's bytes are those of the proof (`-`: standard
    /// input).
    #[arg(long, value_name = "FILE", requires = "check")]
    file: Option<PathBuf>,
    /// Print the result of the check as JSON.
    #[arg(long, requires = "check")]
    json: bool,
}

/// The options of an image are demanded only where there is one.
impl Args for Arguments {
    fn augment_args(command: Command) -> Command {
        let command = Check::augment_args(Make::augment_args(ImageOptions::augment_args(command)));
        command
            .mut_arg("bootstrap", |it| {
                it.required(false).required_unless_present("check")
            })
            .about("Print a proof (JSON) that the root digest covers a file, or check one")
            .long_about(
                "Print a proof (JSON) that the root digest covers a file, or check one.\n\n\
                 A proof holds every hash between the root digest and the file. Whoever has it and \
                 the publisher's root digest needs neither the image nor its registry to check the \
                 file's path, attributes and content:\n\n  \
                 tidegate prove --bootstrap image.boot /usr/bin/env > env.proof\n  \
                 tidegate prove --check env.proof --root sha256:... --file ./env",
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if matches.contains_id("check") {
            let root = matches.get_one::<Digest>("root").copied();
            return Ok(Self::Check(Check::from_arg_matches(matches)?, root));
        }
        Ok(Self::Make(
            Box::new(ImageOptions::from_arg_matches(matches)?),
            Make::from_arg_matches(matches)?,
        ))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    match arguments {
        Arguments::Make(options, make) => {
            let image = options.open_image()?;
            let path = make.path.as_deref().unwrap_or_default();
            let proof = witness::prove(&image, path.as_encoded_bytes())?;
            let mut out = io::BufWriter::new(io::stdout().lock());
            serde_json::to_writer(&mut out, &proof)?;
            out.write_all(b"\n")?;
            out.flush()?;
        }
        Arguments::Check(options, root) => check(options, *root)?,
    }
    Ok(Outcome::Done)
}

/// What a check found, as JSON.
#[derive(Serialize)]
struct Report<'a> {
    root: String,
    pinned: bool,
    path: String,
    node: &'a Node,
    file_compared: bool,
}

fn check(options: &Check, root: Option<Digest>) -> Result<(), Failure> {
    let proof = options.check.as_deref().unwrap_or(Path::new("-"));
    let name = proof.display();
    let mut json = Vec::new();
    let proof = open(proof).map_err(|error| format!("Cannot read proof {name}: {error}"))?;
    proof
        .take(PROOF_MAX + 1)
        .read_to_end(&mut json)
        .map_err(|error| format!("Cannot read proof {name}: {error}"))?;
    if json.len() as u64 > PROOF_MAX {
        return Err(format!("{name} has more than 1 GiB and is not read as a proof").into());
    }
    let proved = witness::check(&json, root)?;
    if let Some(file) = &options.file {
        let name = file.display();
        let mut bytes = open(file).map_err(|error| format!("Cannot open {name}: {error}"))?;
        proved.compare(&mut bytes)?;
    }
    report(options, root, &proved)
}

fn report(options: &Check, root: Option<Digest>, proved: &Proved) -> Result<(), Failure> {
    let path = show(&proved.path);
    if options.json {
        let report = Report {
            root: format!("sha256:{}", proved.root),
            pinned: root.is_some(),
            path,
            node: &proved.node,
            file_compared: options.file.is_some(),
        };
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!("{path} is proved by root sha256:{}", proved.root);
    if let Some(file) = &options.file {
        println!("{} has its bytes", file.display());
    }
    if root.is_none() {
        eprintln!(
            "That root digest is the proof's own claim: compare it with the publisher's, or give \
             that with --root"
        );
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(io::BufReader::new(fs::File::open(path)?)))
}
