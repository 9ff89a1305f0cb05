//! `.nix` specs through the loader, with the real `nix`: what they declare, and that a broken
//! one hides nothing. Without `nix` the tests say so and check what is said then.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says why it is skipped"
)]

use std::{fs, path::Path};

use osmoda_node::specs::{LoadOptions, Loaded, SpecsRef, load, render_errors};

fn load_files(files: &[(&str, &str)]) -> (tempfile::TempDir, Loaded) {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let specs = SpecsRef::Path(directory.path().to_owned());
    let loaded = load(&specs, &LoadOptions::default()).expect("the directory can be read");
    (directory, loaded)
}

fn nix_is_missing() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|path| path.join("nix-instantiate").exists());
    if !is_there {
        eprintln!("skipped: nix-instantiate is not on PATH");
    }
    !is_there
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.agents.keys().map(AsRef::as_ref).collect()
}

#[test]
fn every_form_of_a_nix_spec_declares_an_agent() {
    if nix_is_missing() {
        return;
    }
    let (_directory, loaded) = load_files(&[
        (
            "bare.nix",
            "{ command = [ \"/bin/true\" ]; labels.team = \"x\"; }",
        ),
        (
            "function.nix",
            "{ lib, ... }: { spec = { command = [ \"a\" ]; restart.backoff.factor = 1.5; }; }",
        ),
        (
            "whole.nix",
            "{ apiVersion = \"osmoda/v1\"; kind = \"Agent\"; metadata.name = \"other\"; \
             spec = { command = [ \"a\" ]; dependsOn = [ \"bare\" ]; }; }",
        ),
        (
            "yaml.yaml",
            "{apiVersion: osmoda/v1, kind: Agent, metadata: {name: yaml}, spec: {command: [a]}}",
        ),
    ]);
    assert_eq!(render_errors(&loaded.rejected, false), "");
    assert_eq!(names(&loaded), ["bare", "function", "other", "yaml"]);
    let bare = &loaded.agents["bare"].agent;
    assert_eq!(bare.labels["team"], "x");
    assert_eq!(
        &*bare.manifest,
        r#"{"apiVersion":"osmoda/v1","kind":"Agent","metadata":{"labels":{"team":"x"},"name":"bare"},"spec":{"command":["/bin/true"]}}"#
    );
    let backoff = &loaded.agents["function"].agent.spec.restart.backoff;
    assert_eq!(backoff.factor_milli, 1500);
}

#[test]
fn a_mistake_in_a_nix_spec_is_shown_where_it_stands() {
    if nix_is_missing() {
        return;
    }
    let (directory, loaded) = load_files(&[
        ("good.nix", "{ command = [ \"a\" ]; }"),
        (
            "slip.nix",
            "{\n  command = [ \"a\" ];\n  stop.gracePeriods = \"1s\";\n}\n",
        ),
        ("syntax.nix", "{\n  command = [ \"a\"\n}\n"),
    ]);
    assert_eq!(names(&loaded), ["good"]);
    let shown = render_errors(&loaded.rejected, false);
    let shown = shown.replace(&*directory.path().to_string_lossy(), "specs");
    let slip = "\
error[unknown-field]: unknown field `gracePeriods` in spec.stop
 --> specs/slip.nix:3:8
  |
3 |   stop.gracePeriods = \"1s\";
";
    assert!(shown.contains(slip), "{shown}");
    assert!(shown.contains("error[nix-syntax]"), "{shown}");
    let refused = loaded.rejected.iter().flat_map(|rejected| &rejected.agents);
    let refused: Vec<&str> = refused.map(AsRef::as_ref).collect();
    assert_eq!(refused, ["slip", "syntax"], "a Nix file names its agent");
}

#[test]
fn without_nix_other_specs_are_loaded_and_the_package_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("a.nix"), "{ command = [ \"a\" ]; }").unwrap();
    let yaml = "{apiVersion: osmoda/v1, kind: Agent, metadata: {name: b}, spec: {command: [b], dependsOn: [a]}}";
    fs::write(at("b.yaml"), yaml).unwrap();
    let mut options = LoadOptions::default();
    options.nix.program_dir = Some(Path::new("/nonexistent").to_owned());
    let specs = SpecsRef::Path(directory.path().to_owned());
    let loaded = load(&specs, &options).unwrap();
    assert_eq!(names(&loaded), ["b"], "a may well be declared");
    let error = &loaded.rejected[0].errors[0];
    assert_eq!(error.code, "nix-missing");
    assert!(error.message.contains("apt install nix-bin"), "{error}");
}
