//! The rules of the house that the compiler does not check: who may depend on whom, and where
//! `unsafe` may be written (ARCHITECTURE.md).
//!
//! [`check`] is the entry point. The judgement is pure - [`edges`] over what `cargo metadata`
//! says, [`unsafety`] over texts - so that every rule is shown to reject a made-up breach.

mod edges;
mod unsafety;

use std::fs;

use anyhow::Context;

use crate::project;

/// Checks the whole workspace; one line for each breach, none if all is well.
///
/// # Errors
/// `cargo metadata` fails, or a file cannot be read.
pub fn check() -> anyhow::Result<Vec<String>> {
    let json = project::output(project::cargo().args([
        "metadata",
        "--format-version=1",
        "--no-deps",
        "--offline",
    ]))?;
    let metadata: edges::Metadata =
        serde_json::from_str(&json).context("reading what cargo metadata prints")?;
    let mut breaches = edges::breaches(&metadata);

    let root = project::root();
    for package in &metadata.packages {
        let manifest = fs::read_to_string(&package.manifest_path)
            .with_context(|| format!("reading {}", package.manifest_path))?;
        breaches.extend(unsafety::manifest_breach(&package.name, &manifest));
    }
    for path in project::files_with_extension(&root, "rs")? {
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let relative = path.strip_prefix(&root).unwrap_or(&path);
        breaches.extend(unsafety::source_breaches(relative, &text));
    }
    Ok(breaches)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_workspace_keeps_the_rules() {
        assert_eq!(super::check().unwrap(), Vec::<String>::new());
    }
}
