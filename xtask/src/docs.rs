//! `cargo xtask docs`: the documents that are generated from the NixOS module, which is the one
//! place where every field is described.
//!
//! `modules/reference` makes them in the Nix language, from nixpkgs' `lib` alone; this writes
//! them, or with `--check` compares. [`Library::find`] says where `lib` comes from.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::project;

/// Variable that names a nixpkgs (or nixpkgs.lib) tree.
const NIXPKGS_VARIABLE: &str = "OSMODA_NIXPKGS";

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Compare, and fail where a document is not what would be written.
    #[arg(long)]
    check: bool,
    /// A nixpkgs tree, or one of its `lib` alone [default: <nixpkgs>]
    #[arg(long, value_name = "DIR", env = NIXPKGS_VARIABLE)]
    nixpkgs: Option<PathBuf>,
}

/// Writes the documents, or compares them.
///
/// # Errors
/// There is no `lib`, the module does not evaluate, or, with `--check`, a document differs.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let library = Library::find(args.nixpkgs.clone()).map_err(anyhow::Error::msg)?;
    let stale = documents(&library)?;
    for Document { path, text } in &stale {
        if !args.check {
            project::write_file(&project::root().join(path), text)?;
        }
        println!("{path} {}", if args.check { "is stale" } else { "written" });
    }
    if args.check && !stale.is_empty() {
        bail!("`cargo xtask docs` writes the documents anew");
    }
    Ok(())
}

/// nixpkgs' `lib`, and the program that evaluates with it.
pub struct Library {
    instantiate: PathBuf,
    path: PathBuf,
}

/// A document that is not on disk as it should be.
pub struct Document {
    /// Below the root of the checkout.
    pub path: String,
    /// What it should be.
    pub text: String,
}

impl Library {
    /// Looks in `nixpkgs`, in [`NIXPKGS_VARIABLE`], and where Nix finds `<nixpkgs>`.
    ///
    /// # Errors
    /// Why there is none, as a sentence without an end.
    pub fn find(nixpkgs: Option<PathBuf>) -> Result<Self, String> {
        let instantiate = project::find_program("nix-instantiate")
            .ok_or("nix-instantiate is not installed (Debian: nix-bin)")?;
        let named = nixpkgs.or_else(|| std::env::var_os(NIXPKGS_VARIABLE).map(PathBuf::from));
        let root = match named {
            Some(path) => path,
            None => project::output(Command::new(&instantiate).args(["--find-file", "nixpkgs"]))
                .map(PathBuf::from)
                .map_err(|_| {
                    format!("there is no <nixpkgs> here, and {NIXPKGS_VARIABLE} names none")
                })?,
        };
        let path = root.join("lib");
        if !path.join("default.nix").is_file() {
            return Err(format!("{} is not nixpkgs: no lib in it", root.display()));
        }
        Ok(Self { instantiate, path })
    }

    /// The value of `file`, a function of `{ lib }` below the root of the checkout.
    ///
    /// # Errors
    /// It does not evaluate; the error ends with what Nix said.
    pub fn evaluate(&self, file: &str) -> anyhow::Result<Value> {
        let lib = self.path.to_str().context("nixpkgs' path is not UTF-8")?;
        let mut command = Command::new(&self.instantiate);
        command
            .current_dir(project::root())
            // Nothing is built: no store is needed, nor is one touched.
            .args(["--eval", "--strict", "--json", "--store", "dummy://"])
            .args(["--arg", "lib", &format!("import {lib:?}")])
            .arg(file);
        let json = project::output(&mut command)?;
        serde_json::from_str(&json).with_context(|| format!("reading what {file} gives"))
    }

    /// The tests of the module that fail, as Nix' `lib.runTests` tells of them.
    ///
    /// # Errors
    /// They do not evaluate.
    pub fn failing_tests(&self) -> anyhow::Result<Vec<Value>> {
        match self.evaluate("modules/tests/default.nix")? {
            Value::Array(failures) => Ok(failures),
            other => bail!("modules/tests gives no list, but {other}"),
        }
    }
}

/// The documents that differ from what the module says now.
///
/// # Errors
/// The module does not evaluate.
pub fn documents(library: &Library) -> anyhow::Result<Vec<Document>> {
    let made = library.evaluate("modules/reference/default.nix")?;
    let made: BTreeMap<String, Value> =
        serde_json::from_value(made).context("modules/reference gives no set of documents")?;
    let mut stale = Vec::new();
    for (path, content) in made {
        let text = match content {
            Value::String(text) => text,
            json => serde_json::to_string_pretty(&json).context("writing JSON")? + "\n",
        };
        if !is_on_disk(&path, &text) {
            stale.push(Document { path, text });
        }
    }
    Ok(stale)
}

fn is_on_disk(path: &str, text: &str) -> bool {
    fs::read_to_string(project::root().join(Path::new(path))).is_ok_and(|found| found == text)
}
