//! Where `unsafe` may be written: reconciler/runtime/src/native and nowhere else.
//!
//! The compiler does the real work: the workspace denies the lint, so unsafe code needs an
//! attribute that names it. What is left to check is that every crate takes the workspace's
//! lints, and that no file elsewhere names this one.

use std::path::Path;

/// The one place.
const ALLOWED: &str = "reconciler/runtime/src/native";

/// The lint's name, in two parts so that this file does not name it.
const LINT: &str = concat!("unsafe", "_code");

/// Blames a crate that does not take the workspace's lints.
pub fn manifest_breach(package: &str, manifest: &str) -> Option<String> {
    let mut in_lints = false;
    let takes_them = manifest.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            in_lints = line == "[lints]";
        }
        in_lints && line.replace(' ', "") == "workspace=true"
    });
    (!takes_them).then(|| format!("{package} does not take the workspace's lints"))
}

/// Blames each line that turns the lint off outside the allowed place. `path` is relative to
/// the root of the checkout.
pub fn source_breaches(path: &Path, text: &str) -> Vec<String> {
    if path.starts_with(ALLOWED) {
        return Vec::new();
    }
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.contains(LINT) && !line.trim_start().starts_with("//"))
        .map(|(index, _)| {
            format!(
                "{}:{}: {LINT} may be allowed in {ALLOWED} only",
                path.display(),
                index + 1
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_leaves_the_workspaces_lints_is_blamed() {
        let with = "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n";
        assert_eq!(manifest_breach("a", with), None);
        let elsewhere = "[package]\nworkspace = true\n[lints]\nrust = {}\n";
        assert_eq!(
            manifest_breach("a", elsewhere).as_deref(),
            Some("a does not take the workspace's lints")
        );
    }

    #[test]
    fn the_lint_is_turned_off_in_one_place_only() {
        let text = format!("//! Small.\n#![allow({LINT})]\n");
        let there = Path::new("reconciler/runtime/src/native/spawn.rs");
        let elsewhere = Path::new("reconciler/node/src/spawn.rs");
        assert_eq!(source_breaches(there, &text), Vec::<String>::new());
        assert_eq!(
            source_breaches(elsewhere, &text),
            [format!(
                "reconciler/node/src/spawn.rs:2: {LINT} may be allowed in {ALLOWED} only"
            )]
        );
    }

    #[test]
    fn a_comment_may_name_it() {
        let text = format!("// see {LINT}\n");
        assert_eq!(
            source_breaches(Path::new("a.rs"), &text),
            Vec::<String>::new()
        );
    }
}
