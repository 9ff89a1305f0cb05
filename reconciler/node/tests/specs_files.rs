//! What can lie in a specs directory besides good files: nothing of it hides another agent,
//! hangs, or takes unbounded memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use osmoda_core::name::AgentName;
use osmoda_node::specs::{
    LoadError, LoadOptions, Loaded, MAX_FILE_BYTES, ManifestFormat, SpecsRef, load, load_manifest,
    render_errors, render_manifests,
};
use proptest::prelude::*;
use tempfile::TempDir;

fn load_path(path: &Path) -> Result<Loaded, LoadError> {
    load(&SpecsRef::Path(path.to_owned()), &LoadOptions::default())
}

fn manifest(name: &str) -> String {
    format!(
        "apiVersion: osmoda/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec: {{command: [a]}}\n"
    )
}

/// A directory with the valid agent `good` and whatever `add` puts beside it.
fn beside_good(add: impl FnOnce(&Path)) -> (TempDir, Loaded) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("good.yaml"), manifest("good")).unwrap();
    add(directory.path());
    let loaded = load_path(directory.path()).expect("the directory can be read");
    (directory, loaded)
}

/// Checks that `good` is valid and the other file is refused with this code.
fn check_refused(add: impl FnOnce(&Path), code: &str) {
    let (_directory, loaded) = beside_good(add);
    let names: Vec<&str> = loaded.agents.keys().map(AsRef::as_ref).collect();
    assert_eq!(names, ["good"]);
    let codes: Vec<&str> = loaded
        .rejected
        .iter()
        .flat_map(|rejected| rejected.errors.iter().map(|error| error.code))
        .collect();
    assert_eq!(codes, [code], "{}", render_errors(&loaded.rejected, false));
}

fn put(name: &'static str, content: impl AsRef<[u8]>) -> impl FnOnce(&Path) {
    move |directory| fs::write(directory.join(name), content).unwrap()
}

#[test]
fn a_directory_in_place_of_a_file_is_refused() {
    let add = |directory: &Path| fs::create_dir(directory.join("x.yaml")).unwrap();
    check_refused(add, "not-a-file");
}

#[test]
fn a_fifo_is_refused_without_waiting_for_a_writer() {
    let add = |directory: &Path| {
        let status = Command::new("mkfifo")
            .arg(directory.join("x.yaml"))
            .status();
        assert!(status.expect("mkfifo runs").success());
    };
    check_refused(add, "not-a-file");
}

#[test]
fn a_link_to_nowhere_and_a_link_to_itself_are_refused() {
    let dangling = |directory: &Path| symlink("gone", directory.join("x.yaml")).unwrap();
    check_refused(dangling, "dangling-link");
    let loop_ = |directory: &Path| symlink("x.yaml", directory.join("x.yaml")).unwrap();
    check_refused(loop_, "unreadable");
}

#[test]
fn a_link_to_a_spec_is_a_spec() {
    let (_directory, loaded) = beside_good(|directory| {
        let store = directory.join("store");
        fs::create_dir(&store).unwrap();
        fs::write(store.join("linked"), manifest("linked")).unwrap();
        symlink("store/linked", directory.join("linked.yaml")).unwrap();
    });
    assert!(loaded.rejected.is_empty());
    assert!(loaded.agents.contains_key("linked"));
}

#[test]
fn a_file_is_read_up_to_its_bound_and_no_further() {
    let padding = |bytes: usize| {
        let mut text = manifest("large");
        text.push('#');
        let missing = bytes - text.len();
        text + &"x".repeat(missing)
    };
    let most = usize::try_from(MAX_FILE_BYTES).unwrap();
    let (_directory, loaded) = beside_good(put("x.yaml", padding(most)));
    assert!(loaded.agents.contains_key("large"));
    check_refused(put("x.yaml", padding(most + 1)), "too-large");
    let endless = |directory: &Path| symlink("/dev/zero", directory.join("x.yaml")).unwrap();
    check_refused(endless, "not-a-file");
    let sparse = |directory: &Path| {
        let file = fs::File::create(directory.join("x.json")).unwrap();
        file.set_len(1 << 40).unwrap();
    };
    check_refused(sparse, "too-large");
}

#[test]
fn what_is_no_text_of_a_spec_is_refused() {
    check_refused(put("x.yaml", b"\xff\xfe"), "not-utf8");
    check_refused(put("x.yaml", ""), "empty-file");
    check_refused(put("x.yaml", "\u{feff}"), "empty-file");
    check_refused(put("x.json", ""), "json-syntax");
    check_refused(put("x.json", "null"), "wrong-type");
    check_refused(put("x.yaml", "[".repeat(1000)), "yaml-syntax");
    check_refused(put("x.json", "[".repeat(100_000)), "json-syntax");
    check_refused(put("x.yaml", "%YAML 1.2\n---\n"), "empty-file");
    check_refused(put("x.yaml", "%YAML 9.9\n---\n"), "yaml-syntax");
}

#[test]
fn names_with_a_dot_or_an_underscore_in_front_and_other_files_are_not_specs() {
    let (_directory, loaded) = beside_good(|directory| {
        for name in [".x.yaml", "_x.yaml", "README.md", "x.yaml~", "x", "x.YAML"] {
            fs::write(directory.join(name), "not read").unwrap();
        }
        fs::create_dir(directory.join("programs")).unwrap();
    });
    assert_eq!(loaded.rejected, []);
    assert_eq!(loaded.agents.len(), 1);
}

#[test]
fn an_empty_directory_declares_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let loaded = load_path(directory.path()).unwrap();
    assert!(loaded.agents.is_empty() && loaded.node.is_none() && loaded.rejected.is_empty());
    assert_eq!(render_errors(&loaded.rejected, false), "");
    assert_eq!(render_manifests(&loaded, ManifestFormat::Yaml).unwrap(), "");
}

#[test]
fn specs_that_cannot_be_read_at_all_are_an_error_and_not_an_empty_set() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let error = |path: PathBuf| load_path(&path).expect_err("an error");
    assert!(matches!(error(at("gone")), LoadError::Missing { .. }));
    fs::write(at("notes.txt"), "x").unwrap();
    assert!(matches!(error(at("notes.txt")), LoadError::NotSpecs { .. }));
    // As root no mode keeps a directory from being read; a loop and a file on the way do.
    symlink("loop", at("loop")).unwrap();
    assert!(matches!(error(at("loop")), LoadError::Unreadable { .. }));
    assert!(matches!(
        error(at("notes.txt/x")),
        LoadError::Unreadable { .. }
    ));
}

#[test]
fn one_file_can_be_named_instead_of_a_directory() {
    let (directory, _) = beside_good(|_| {});
    let loaded = load_path(&directory.path().join("good.yaml")).unwrap();
    assert_eq!(loaded.agents.len(), 1);
}

#[test]
fn a_flake_is_told_from_a_path_by_its_number_sign() {
    let flake = |text: &str| matches!(SpecsRef::parse(text), SpecsRef::Flake(_));
    assert!(flake(".#specs"));
    assert!(flake("github:owner/name#agents"));
    assert!(!flake("specs"));
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join("odd#name");
    fs::create_dir(&odd).unwrap();
    assert!(
        !flake(odd.to_str().unwrap()),
        "a path that exists is a path"
    );
}

#[test]
fn only_a_file_that_may_declare_an_agent_excuses_its_absence() {
    let (directory, loaded) = beside_good(|directory| {
        fs::write(directory.join("broken.yaml"), "a: [").unwrap();
        fs::write(directory.join("wrong.yaml"), manifest("wrong") + "x: 1\n").unwrap();
    });
    let at = |name: &str| directory.path().join(name);
    let agent = |name: &str| AgentName::new(name).unwrap();
    assert!(loaded.may_declare(&agent("lost"), &at("broken.yaml")));
    assert!(!loaded.may_declare(&agent("lost"), &at("good.yaml")));
    assert!(loaded.may_declare(&agent("wrong"), &at("elsewhere.yaml")));
    assert!(!loaded.may_declare(&agent("removed"), &at("wrong.yaml")));
}

#[test]
fn a_line_cannot_steer_the_terminal() {
    let text = "{\"apiVersion\": \"\u{202e}v1\u{9b}31m\"}";
    let (_directory, loaded) = beside_good(put("x.json", text));
    let shown = render_errors(&loaded.rejected, false);
    assert!(shown.contains("apiVersion"));
    let steering = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!shown.contains(steering), "{shown:?}");
}

/// Strings with everything that YAML, JSON or a terminal could trip over.
fn any_text() -> impl Strategy<Value = String> {
    let odd = "[ -~\t\n\r\u{1}\u{7f}\u{85}\u{a0}\u{2028}\u{feff}\u{fffe}é😀]{0,12}";
    let word = prop::sample::select(vec![
        "yes",
        "null",
        "~",
        "0x10",
        "1e3",
        "- a",
        "a: b",
        "#",
        "<<",
        "*a",
        "&a",
        "!t",
        "---",
        "...",
        "%",
        "@",
        "`",
        "'",
        "\"",
        "{",
        "[",
        "?",
        ":",
        "|",
        ">",
        " lead",
        "trail ",
        "\n",
        "a\nb",
        "1.0",
        ".nan",
        "true",
        "2020-01-01",
        "=",
        "0o7",
        "-",
        "\\",
    ]);
    prop_oneof![odd.prop_map(String::from), word.prop_map(str::to_owned)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_or_explained(bytes: Vec<u8>, is_json: bool) {
        let directory = tempfile::tempdir().unwrap();
        let name = if is_json { "x.json" } else { "x.yaml" };
        fs::write(directory.path().join(name), bytes).unwrap();
        let loaded = load_path(directory.path()).unwrap();
        prop_assert!(loaded.agents.is_empty());
        prop_assert_eq!(loaded.rejected.len(), 1);
        prop_assert!(!render_errors(&loaded.rejected, true).is_empty());
    }

    #[test]
    fn any_damage_to_a_good_file_is_read_or_explained(
        position in 0..400_usize,
        insert in "[-:{}\\[\\]&*!|>'\"%#\t\n ,?a]{0,3}",
        removed in 0..4_usize,
    ) {
        let mut text = fs::read_to_string("tests/specs/valid/everything.yaml").unwrap();
        let start = position.min(text.len());
        let end = (start + removed).min(text.len());
        text.replace_range(start..end, &insert);
        let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let loaded = load_path(file.path()).unwrap();
        prop_assert_eq!(loaded.agents.len() + loaded.rejected.len(), 1);
        render_errors(&loaded.rejected, false);
    }

    #[test]
    fn any_text_survives_rendering_and_bundles(texts in prop::collection::vec(any_text(), 1..6)) {
        let environment: BTreeMap<String, &String> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| (format!("V{index}"), text))
            .collect();
        let manifest = serde_json::json!({
            "apiVersion": "osmoda/v1",
            "kind": "Agent",
            "metadata": {"name": "a"},
            "spec": {"command": ["a"], "environment": environment},
        });
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.json");
        fs::write(&file, manifest.to_string()).unwrap();
        let loaded = load_path(&file).unwrap();
        prop_assert_eq!(render_errors(&loaded.rejected, false), "");
        let agent = &loaded.agents["a"].agent;
        let arrived: Vec<&String> = agent.spec.environment.values().collect();
        prop_assert_eq!(arrived, texts.iter().collect::<Vec<_>>());
        prop_assert_eq!(&load_manifest(&agent.manifest).unwrap(), agent.as_ref());
        let yaml = directory.path().join("a.yaml");
        fs::write(&yaml, render_manifests(&loaded, ManifestFormat::Yaml).unwrap()).unwrap();
        let again = load_path(&yaml).unwrap();
        prop_assert_eq!(render_errors(&again.rejected, false), "");
        prop_assert_eq!(&again.agents["a"].agent, agent);
    }
}
