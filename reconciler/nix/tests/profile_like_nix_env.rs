//! Profile operations agree with the real nix-env on random sequences.
//!
//! Two profiles, one changed by nix-env and one by us, go through the same operations; after
//! each the links are the same, and nix-env lists ours as it lists its own. Everything lies in
//! a temporary directory: store, database, profiles.

#![expect(clippy::unwrap_used, reason = "a fixture fails as its test does")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use osmoda_core::name::AgentName;
use osmoda_nix::profile::Profile;
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use tempfile::TempDir;

/// Store paths to choose from.
const PATHS: usize = 3;
const NAME: &str = "agent-1";

/// A Nix of its own.
struct PrivateNix {
    dir: TempDir,
    paths: Vec<PathBuf>,
}

impl PrivateNix {
    /// `None`, and the reason printed, if Nix is not there.
    fn get() -> Option<&'static Self> {
        static NIX: OnceLock<Option<PrivateNix>> = OnceLock::new();
        NIX.get_or_init(Self::new).as_ref()
    }

    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut nix = Self {
            dir,
            paths: Vec::new(),
        };
        for index in 0..PATHS {
            let file = nix.dir.path().join(format!("program-{index}"));
            fs::write(&file, format!("{index}")).unwrap();
            let added = match nix.command("nix-store").arg("--add").arg(&file).output() {
                Ok(output) if output.status.success() => output.stdout,
                other => {
                    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
                    {
                        eprintln!("skipped: nix-store cannot make a store here: {other:?}");
                    }
                    return None;
                }
            };
            nix.paths
                .push(String::from_utf8(added).unwrap().trim().into());
        }
        Some(nix)
    }

    fn command(&self, program: &str) -> Command {
        let root = self.dir.path();
        let mut command = Command::new(program);
        command
            .env_remove("NIX_REMOTE")
            .env("HOME", root)
            .env("NIX_STORE_DIR", root.join("store"))
            .env("NIX_STATE_DIR", root.join("state"))
            .env("NIX_LOCALSTATE_DIR", root.join("state"))
            .env("NIX_LOG_DIR", root.join("log"))
            .env("NIX_CONF_DIR", root.join("conf"));
        command
    }

    fn env(&self, profile: &Path, args: &[&str]) -> Output {
        let mut command = self.command("nix-env");
        command.arg("--profile").arg(profile).args(args);
        command.output().unwrap()
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Set(usize),
    Rollback,
    Switch(u64),
    Delete(Vec<u64>),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0..PATHS).prop_map(Operation::Set),
        1 => Just(Operation::Rollback),
        2 => (1..7_u64).prop_map(Operation::Switch),
        2 => prop::collection::vec(1..7_u64, 1..3).prop_map(Operation::Delete),
    ]
}

/// What nix-env does; whether it agreed to.
fn theirs(nix: &PrivateNix, profile: &Path, operation: &Operation) -> bool {
    let output = match operation {
        Operation::Set(path) => nix.env(profile, &["--set", nix.paths[*path].to_str().unwrap()]),
        Operation::Rollback => nix.env(profile, &["--rollback"]),
        Operation::Switch(number) => {
            nix.env(profile, &["--switch-generation", &number.to_string()])
        }
        Operation::Delete(numbers) => {
            let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
            let mut args = vec!["--delete-generations"];
            args.extend(numbers.iter().map(String::as_str));
            nix.env(profile, &args)
        }
    };
    output.status.success()
}

/// What we do; whether we agreed to.
fn ours(nix: &PrivateNix, profile: &Profile, operation: &Operation) -> bool {
    let generations = profile.list().unwrap();
    let find = |number: u64| generations.iter().find(|g| g.number == number);
    match operation {
        Operation::Set(path) => profile.set(&nix.paths[*path]).is_ok(),
        Operation::Rollback => {
            let active = profile.active().unwrap().map_or(0, |g| g.number);
            let below = generations.iter().rev().find(|g| g.number < active);
            below.is_some_and(|g| {
                profile
                    .switch_to(g.number, Path::new(&g.store_path))
                    .is_ok()
            })
        }
        Operation::Switch(number) => find(*number).is_some_and(|g| {
            profile
                .switch_to(g.number, Path::new(&g.store_path))
                .is_ok()
        }),
        Operation::Delete(numbers) => profile.delete(numbers).is_ok(),
    }
}

/// Every link in a directory and what it points to. (nix-env may leave its lock behind.)
fn links(dir: &Path) -> Vec<(String, PathBuf)> {
    let mut links: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_symlink())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_link(entry.path()).unwrap())
        })
        .collect();
    links.sort();
    links
}

/// Numbers and the active mark of `nix-env --list-generations`, without the times.
fn listed(nix: &PrivateNix, profile: &Path) -> Vec<(String, bool)> {
    let output = nix.env(profile, &["--list-generations"]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let number = line.split_whitespace().next().unwrap().to_owned();
            (number, line.contains("(current)"))
        })
        .collect()
}

fn agree(nix: &PrivateNix, operations: &[Operation]) -> Result<(), TestCaseError> {
    let dirs = tempfile::tempdir().unwrap();
    let [their_dir, our_dir] = ["theirs", "ours"].map(|name| dirs.path().join(name));
    fs::create_dir(&their_dir).unwrap();
    fs::create_dir(&our_dir).unwrap();
    let profile = Profile::new(&our_dir, AgentName::new(NAME).unwrap());
    for operation in operations {
        // Versions differ in whether nothing can be deleted from a profile that is not there.
        let is_defined = profile.path().is_symlink() || !matches!(operation, Operation::Delete(_));
        let they_agreed = theirs(nix, &their_dir.join(NAME), operation);
        let we_agreed = ours(nix, &profile, operation);
        if is_defined {
            prop_assert_eq!(we_agreed, they_agreed, "{:?}", operation);
        }
        prop_assert_eq!(links(&our_dir), links(&their_dir), "after {:?}", operation);
    }
    prop_assert_eq!(
        listed(nix, &our_dir.join(NAME)),
        listed(nix, &their_dir.join(NAME))
    );
    Ok(())
}

proptest! {
    // A case starts about a dozen processes.
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_links_are_those_of_nix_env(
        operations in prop::collection::vec(operation(), 1..14),
    ) {
        if let Some(nix) = PrivateNix::get() {
            agree(nix, &operations)?;
        }
    }
}

#[test]
fn both_may_change_one_profile_in_turn() {
    let Some(nix) = PrivateNix::get() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let profile = Profile::new(dir.path(), AgentName::new(NAME).unwrap());
    let operations = [
        Operation::Set(0),
        Operation::Set(1),
        Operation::Set(0),
        Operation::Rollback,
        Operation::Set(2),
        Operation::Delete(vec![1]),
        Operation::Switch(3),
    ];
    for (index, operation) in operations.iter().enumerate() {
        let done = if index % 2 == 0 {
            ours(nix, &profile, operation)
        } else {
            theirs(nix, &profile.path(), operation)
        };
        assert!(done, "{operation:?}");
    }
    let numbers: Vec<_> = profile.list().unwrap().iter().map(|g| g.number).collect();
    assert_eq!(numbers, [2, 3, 4]);
    assert_eq!(profile.active().unwrap().unwrap().number, 3);
}
