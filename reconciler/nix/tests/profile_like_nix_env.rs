//! Profile operations agree with the real nix-env on random sequences.
//!
//! Two profiles, one changed by nix-env and one by us, go through the same operations; after
//! each the links are the same, and nix-env lists ours as it lists its own. Everything lies in
//! a temporary directory: store, database, profiles.

#![expect(clippy::unwrap_used, reason = "a fixture fails as its test does")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::OnceLock,
};

use osmoda_core::name::AgentName;
use osmoda_nix::profile::Profile;
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use support::PrivateNix;

/// Store paths to choose from.
const PATHS: usize = 3;
const NAME: &str = "agent-1";

/// A Nix of its own with something to set.
struct Ground {
    nix: PrivateNix,
    paths: Vec<PathBuf>,
}

impl Ground {
    fn get() -> Option<&'static Self> {
        static GROUND: OnceLock<Option<Ground>> = OnceLock::new();
        let make = || {
            let nix = PrivateNix::new()?;
            let paths = (0..PATHS).map(|index| nix.program(&format!("program-{index}")));
            let paths = paths.collect();
            Some(Self { nix, paths })
        };
        GROUND.get_or_init(make).as_ref()
    }

    fn env(&self, profile: &Path, args: &[&str]) -> Output {
        self.nix.env(profile, args)
    }

    /// As the loop sets a generation: with a root for the collector.
    fn set(&self, profile: &Profile, path: &Path) -> bool {
        let target = self.nix.store.dir().parse(path.to_str().unwrap()).unwrap();
        let root = |link: &Path| {
            self.nix.store.add_root(link, &target).unwrap();
            Ok(())
        };
        profile.set_after(path, root).is_ok()
    }

    /// What is a root because of links in `dir`, by the name of the link.
    fn roots(&self, dir: &Path) -> Vec<String> {
        let auto = self.nix.store.state_dir().join("gcroots/auto");
        let mut roots: Vec<String> = links(&auto)
            .into_iter()
            .filter_map(|(_, target)| Some(target.strip_prefix(dir).ok()?.to_str()?.to_owned()))
            .collect();
        roots.sort();
        roots
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
fn theirs(nix: &Ground, profile: &Path, operation: &Operation) -> bool {
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
fn ours(nix: &Ground, profile: &Profile, operation: &Operation) -> bool {
    let generations = profile.list().unwrap();
    let find = |number: u64| generations.iter().find(|g| g.number == number);
    match operation {
        Operation::Set(path) => nix.set(profile, &nix.paths[*path]),
        Operation::Rollback => {
            let active = profile.active().unwrap().map_or(0, |g| g.number);
            let below = generations.iter().rev().find(|g| g.number < active);
            below.is_some_and(|g| profile.switch_to(g.number, g.path()).is_ok())
        }
        Operation::Switch(number) => {
            find(*number).is_some_and(|g| profile.switch_to(g.number, g.path()).is_ok())
        }
        Operation::Delete(numbers) => profile.delete(numbers).is_ok(),
    }
}

/// Every link in a directory and what it points to. (nix-env may leave its lock behind.)
fn links(dir: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut links: Vec<_> = entries
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
fn listed(nix: &Ground, profile: &Path) -> Vec<(String, bool)> {
    let output = nix.env(profile, &["--list-generations"]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let number = line.split_whitespace().next().unwrap().to_owned();
            (number, line.contains("(current)"))
        })
        .collect()
}

fn agree(nix: &Ground, operations: &[Operation]) -> Result<(), TestCaseError> {
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
        let [our_roots, their_roots] = [&our_dir, &their_dir].map(|dir| nix.roots(dir));
        prop_assert_eq!(our_roots, their_roots, "after {:?}", operation);
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
        if let Some(nix) = Ground::get() {
            agree(nix, &operations)?;
        }
    }
}

#[test]
fn a_root_has_the_name_that_nix_env_gives_it() {
    let Some(nix) = Ground::get() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let profile = Profile::new(dir.path(), AgentName::new(NAME).unwrap());
    assert!(theirs(nix, &profile.path(), &Operation::Set(0)));
    let auto = nix.nix.store.state_dir().join("gcroots/auto");
    let ours_alone = || {
        let all = links(&auto).into_iter();
        all.filter(|(_, target)| target.starts_with(dir.path()))
            .collect::<Vec<_>>()
    };
    let before = ours_alone();
    assert_eq!(before.len(), 1);
    fs::remove_file(auto.join(&before[0].0)).unwrap();
    assert!(ours(nix, &profile, &Operation::Set(0)));
    assert_eq!(ours_alone(), before);
}

#[test]
fn both_may_change_one_profile_in_turn() {
    let Some(nix) = Ground::get() else {
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
