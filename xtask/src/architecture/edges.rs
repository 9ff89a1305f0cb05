//! The direction of dependencies: core <- ledger, nix, runtime <- node <- cli.
//!
//! Every member of the workspace has a row in [`RULES`]; one without is a breach, so that a new
//! crate is placed on purpose. Only direct dependencies are judged: rules for each crate give
//! the rule for the whole.

use serde::Deserialize;

/// The part of `cargo metadata --format-version=1` that is judged (cargo-metadata(1)).
#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub struct Package {
    pub name: String,
    pub manifest_path: String,
    pub dependencies: Vec<Dependency>,
}

/// One line of its dependencies.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    pub name: String,
    /// `None` is a normal dependency; else "dev" or "build".
    pub kind: Option<String>,
}

/// What one member may depend on.
struct Rule {
    name: &'static str,
    /// Other members it may use.
    members: &'static [&'static str],
    /// The external crates it may use outside its tests; `None`: any.
    external: Option<&'static [&'static str]>,
}

const CORE: &str = "osmoda-core";
const LEDGER: &str = "osmoda-ledger";
const NIX: &str = "osmoda-nix";
const RUNTIME: &str = "osmoda-runtime";
const NODE: &str = "osmoda-node";
const CLI: &str = "osmoda";
const TESTKIT: &str = "osmoda-testkit";
const XTASK: &str = "xtask";

const RULES: [Rule; 8] = [
    Rule {
        name: CORE,
        members: &[],
        external: Some(&["compact_str", "serde", "sha2", "thiserror"]),
    },
    Rule {
        name: LEDGER,
        members: &[CORE],
        external: None,
    },
    Rule {
        name: NIX,
        members: &[CORE],
        external: None,
    },
    Rule {
        name: RUNTIME,
        members: &[CORE],
        external: None,
    },
    Rule {
        name: NODE,
        members: &[CORE, LEDGER, NIX, RUNTIME],
        external: None,
    },
    Rule {
        name: CLI,
        members: &[CORE, LEDGER, NIX, RUNTIME, NODE],
        external: None,
    },
    Rule {
        name: TESTKIT,
        members: &[CORE, LEDGER, NIX, RUNTIME, NODE],
        external: None,
    },
    Rule {
        name: XTASK,
        // For a test that compares documents with its types.
        members: &[CORE],
        external: None,
    },
];

/// Every forbidden dependency, one line each, saying what would be allowed.
pub fn breaches(metadata: &Metadata) -> Vec<String> {
    let mut breaches = Vec::new();
    for package in &metadata.packages {
        let Some(rule) = RULES.iter().find(|rule| rule.name == package.name) else {
            breaches.push(format!(
                "{} has no rule: give it a row in xtask/src/architecture/edges.rs",
                package.name
            ));
            continue;
        };
        let judge = |dependency| breach(rule, dependency, metadata);
        breaches.extend(package.dependencies.iter().filter_map(judge));
    }
    breaches
}

fn breach(rule: &Rule, dependency: &Dependency, metadata: &Metadata) -> Option<String> {
    let name = dependency.name.as_str();
    let for_tests = dependency.kind.as_deref() == Some("dev");
    let is_member = metadata.packages.iter().any(|p| p.name == name);
    let allowed = if is_member {
        rule.members.contains(&name) || (name == TESTKIT && for_tests)
    } else {
        for_tests || rule.external.is_none_or(|names| names.contains(&name))
    };
    if allowed {
        return None;
    }
    let (what, list) = match (name, is_member) {
        (TESTKIT, _) => ("dev-dependencies only".to_owned(), String::new()),
        (_, true) => ("of this workspace only: ".to_owned(), join(rule.members)),
        (_, false) => (
            "outside it only: ".to_owned(),
            join(rule.external.unwrap_or_default()),
        ),
    };
    Some(format!(
        "{} must not depend on {name} (allowed, {what}{list})",
        rule.name
    ))
}

fn join(names: &[&str]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts what a workspace of all members, plus one dependency, is blamed for.
    #[track_caller]
    fn check(from: &str, kind: Option<&str>, to: &str, expected: &[&str]) {
        let packages = RULES
            .iter()
            .map(|rule| Package {
                name: rule.name.to_owned(),
                manifest_path: String::new(),
                dependencies: Vec::from_iter((rule.name == from).then(|| Dependency {
                    name: to.to_owned(),
                    kind: kind.map(str::to_owned),
                })),
            })
            .collect();
        assert_eq!(breaches(&Metadata { packages }), expected);
    }

    #[test]
    fn each_layer_may_use_the_ones_below() {
        for (from, to) in [
            (LEDGER, CORE),
            (NIX, CORE),
            (RUNTIME, CORE),
            (NODE, LEDGER),
            (NODE, NIX),
            (NODE, RUNTIME),
            (CLI, NODE),
            (TESTKIT, NODE),
        ] {
            check(from, None, to, &[]);
        }
    }

    #[test]
    fn no_layer_uses_one_above_or_beside_it() {
        check(
            CORE,
            None,
            LEDGER,
            &["osmoda-core must not depend on osmoda-ledger \
               (allowed, of this workspace only: nothing)"],
        );
        check(
            RUNTIME,
            None,
            LEDGER,
            &["osmoda-runtime must not depend on osmoda-ledger \
               (allowed, of this workspace only: osmoda-core)"],
        );
        check(
            NODE,
            Some("build"),
            CLI,
            &["osmoda-node must not depend on osmoda \
               (allowed, of this workspace only: osmoda-core, osmoda-ledger, osmoda-nix, \
               osmoda-runtime)"],
        );
    }

    #[test]
    fn not_even_a_test_of_core_uses_a_layer_above() {
        check(
            CORE,
            Some("dev"),
            NODE,
            &["osmoda-core must not depend on osmoda-node \
               (allowed, of this workspace only: nothing)"],
        );
    }

    #[test]
    fn core_stays_small_but_its_tests_may_use_tools() {
        check(CORE, None, "sha2", &[]);
        check(CORE, Some("dev"), "proptest", &[]);
        check(
            CORE,
            None,
            "tokio",
            &["osmoda-core must not depend on tokio \
               (allowed, outside it only: compact_str, serde, sha2, thiserror)"],
        );
        check(NODE, None, "tokio", &[]);
    }

    #[test]
    fn the_testkit_is_for_tests() {
        check(NODE, Some("dev"), TESTKIT, &[]);
        check(
            CLI,
            None,
            TESTKIT,
            &["osmoda must not depend on osmoda-testkit (allowed, dev-dependencies only)"],
        );
    }

    #[test]
    fn nothing_uses_xtask() {
        check(
            CLI,
            Some("dev"),
            XTASK,
            &[
                "osmoda must not depend on xtask (allowed, of this workspace only: \
               osmoda-core, osmoda-ledger, osmoda-nix, osmoda-runtime, osmoda-node)",
            ],
        );
    }

    #[test]
    fn a_new_crate_must_be_placed() {
        let newcomer = Package {
            name: "osmoda-extra".to_owned(),
            manifest_path: String::new(),
            dependencies: Vec::new(),
        };
        assert_eq!(
            breaches(&Metadata {
                packages: vec![newcomer]
            }),
            ["osmoda-extra has no rule: give it a row in xtask/src/architecture/edges.rs"]
        );
    }
}
