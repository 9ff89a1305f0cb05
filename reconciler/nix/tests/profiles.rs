//! One suite for every implementation of [`Profiles`], so that the fake cannot drift from the
//! truth.

#![expect(clippy::unwrap_used, reason = "a fixture fails as its test does")]

mod support;

use std::ops::ControlFlow;

use osmoda_core::{name::AgentName, observed::Generation};
use osmoda_nix::{
    bundle::{BundleError, MANIFEST_FILE},
    profile::{Profile, ProfileError},
    profiles::{MemoryProfiles, Profiles, SymlinkProfiles},
    store::StoreError,
};
use support::PrivateNix;
use tempfile::TempDir;

/// An implementation, and what a person could do behind its back.
trait Subject {
    fn profiles(&self) -> &dyn Profiles;
    fn damage(&self, generation: &Generation);
    fn switch_from_outside(&self, agent: &AgentName, to: &Generation);
    /// Has unused bundles removed, where that is somebody else's work.
    fn collect_garbage(&self) {}
}

struct Real {
    dir: TempDir,
    profiles: SymlinkProfiles,
}

impl Real {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [profile_dir, bundle_dir] =
            ["state/profiles", "state/bundles"].map(|d| dir.path().join(d));
        let profiles = SymlinkProfiles::new(&profile_dir, &bundle_dir).unwrap();
        Self { dir, profiles }
    }
}

impl Subject for Real {
    fn profiles(&self) -> &dyn Profiles {
        &self.profiles
    }

    fn damage(&self, generation: &Generation) {
        let manifest = generation.path().join(MANIFEST_FILE);
        std::fs::write(manifest, "{\"damaged\":true}").unwrap();
    }

    fn switch_from_outside(&self, agent: &AgentName, to: &Generation) {
        let profile = Profile::new(self.dir.path().join("state/profiles"), agent.clone());
        profile.switch_to(to.number, to.path()).unwrap();
    }
}

/// With bundles in a Nix store.
struct WithNix {
    nix: PrivateNix,
    profiles: SymlinkProfiles,
}

impl WithNix {
    fn new() -> Option<Self> {
        let nix = PrivateNix::new()?;
        let [profile_dir, bundle_dir] =
            ["state/profiles/osmoda", "bundles"].map(|d| nix.dir.path().join(d));
        let store = Some(nix.store.clone());
        let profiles = SymlinkProfiles::open(&profile_dir, &bundle_dir, store).unwrap();
        Some(Self { nix, profiles })
    }
}

impl Subject for WithNix {
    fn profiles(&self) -> &dyn Profiles {
        &self.profiles
    }

    fn damage(&self, generation: &Generation) {
        let bundle = generation.path();
        self.nix.spoil(bundle, "{\"damaged\":true}");
    }

    fn switch_from_outside(&self, agent: &AgentName, to: &Generation) {
        let profile = self.nix.dir.path().join("state/profiles/osmoda");
        let number = to.number.to_string();
        let args = ["--switch-generation", &number];
        let output = self.nix.env(&profile.join(agent.as_str()), &args);
        assert!(output.status.success(), "{output:?}");
    }

    fn collect_garbage(&self) {
        self.nix.collect_garbage();
    }
}

struct Fake(MemoryProfiles);

impl Subject for Fake {
    fn profiles(&self) -> &dyn Profiles {
        &self.0
    }

    fn damage(&self, generation: &Generation) {
        assert!(self.0.damage(generation));
    }

    fn switch_from_outside(&self, agent: &AgentName, to: &Generation) {
        assert!(self.0.switch_from_outside(agent, to.number));
    }
}

fn agent(name: &str) -> AgentName {
    AgentName::new(name).unwrap()
}

/// Activates each manifest in turn.
fn deploy(profiles: &dyn Profiles, name: &str, manifests: &[&str]) -> Vec<Generation> {
    let activate = |manifest: &&str| profiles.activate(&agent(name), manifest).unwrap();
    manifests.iter().map(activate).collect()
}

fn numbers(generations: &[Generation]) -> Vec<u64> {
    generations.iter().map(|g| g.number).collect()
}

/// Runs one case against each implementation.
fn each(case: impl Fn(&dyn Subject)) {
    case(&Real::new());
    case(&Fake(MemoryProfiles::new()));
    if let Some(with_nix) = WithNix::new() {
        case(&with_nix);
    }
}

#[test]
fn an_agent_that_was_never_deployed_has_nothing() {
    each(|subject| {
        let profiles = subject.profiles();
        let a = agent("a");
        assert_eq!(profiles.active(&a).unwrap(), None);
        assert!(profiles.list(&a).unwrap().is_empty());
        assert!(profiles.agents().unwrap().is_empty());
        assert!(profiles.prune(&a, 0, &[]).unwrap().is_empty());
        profiles.remove(&a).unwrap();
    });
}

#[test]
fn a_deployed_manifest_is_active_and_reads_back() {
    each(|subject| {
        let profiles = subject.profiles();
        let made = deploy(profiles, "a", &["one", "two"]);
        assert_eq!(numbers(&made), [1, 2]);
        assert_eq!(profiles.list(&agent("a")).unwrap(), made);
        assert_eq!(profiles.active(&agent("a")).unwrap(), Some(made[1].clone()));
        assert_eq!(profiles.manifest(&made[0]).unwrap(), "one");
        assert_eq!(profiles.manifest(&made[1]).unwrap(), "two");
    });
}

#[test]
fn deploying_what_is_active_changes_nothing() {
    each(|subject| {
        let made = deploy(
            subject.profiles(),
            "a",
            &["one", "one", "two", "one", "one"],
        );
        assert_eq!(numbers(&made), [1, 1, 2, 3, 3]);
        subject.switch_from_outside(&agent("a"), &made[0]);
        let again = deploy(subject.profiles(), "a", &["one"]);
        assert_eq!(numbers(&again), [1]);
    });
}

#[test]
fn the_highest_generation_is_used_again() {
    each(|subject| {
        let profiles = subject.profiles();
        let made = deploy(profiles, "a", &["one", "two"]);
        profiles.switch(&agent("a"), &made[0]).unwrap();
        assert_eq!(numbers(&deploy(profiles, "a", &["two"])), [2]);
    });
}

#[test]
fn the_same_manifest_of_two_agents_is_two_bundles() {
    each(|subject| {
        let profiles = subject.profiles();
        let a = deploy(profiles, "a", &["same"]).remove(0);
        let b = deploy(profiles, "b", &["same"]).remove(0);
        assert_ne!(a.store_path, b.store_path);
        assert_eq!(profiles.agents().unwrap(), [agent("a"), agent("b")]);
        profiles.remove(&agent("a")).unwrap();
        subject.collect_garbage();
        assert!(profiles.manifest(&a).is_err());
        assert_eq!(profiles.manifest(&b).unwrap(), "same");
        assert_eq!(profiles.agents().unwrap(), [agent("b")]);
    });
}

#[test]
fn a_switch_goes_to_the_recorded_pair_alone() {
    each(|subject| {
        let profiles = subject.profiles();
        let a = agent("a");
        let made = deploy(profiles, "a", &["one", "two"]);
        let pair = |number, store_path: &str| Generation {
            number,
            store_path: store_path.into(),
        };
        let changed = profiles.switch(&a, &pair(1, &made[1].store_path));
        assert!(matches!(
            changed,
            Err(ProfileError::TargetChanged { number: 1, .. })
        ));
        let absent = profiles.switch(&a, &pair(9, &made[0].store_path));
        assert!(matches!(
            absent,
            Err(ProfileError::NoSuchGeneration { number: 9, .. })
        ));
        assert_eq!(profiles.active(&a).unwrap(), Some(made[1].clone()));
        profiles.switch(&a, &made[0]).unwrap();
        profiles.switch(&a, &made[0]).unwrap();
        assert_eq!(profiles.active(&a).unwrap(), Some(made[0].clone()));
    });
}

#[test]
fn what_others_do_to_a_profile_is_seen() {
    each(|subject| {
        let made = deploy(subject.profiles(), "a", &["one", "two"]);
        subject.switch_from_outside(&agent("a"), &made[0]);
        let active = subject.profiles().active(&agent("a")).unwrap();
        assert_eq!(active, Some(made[0].clone()));
    });
}

#[test]
fn a_damaged_bundle_is_never_used() {
    each(|subject| {
        let profiles = subject.profiles();
        let a = agent("a");
        let made = deploy(profiles, "a", &["one", "two"]);
        subject.damage(&made[0]);
        let damaged = |result: Result<(), ProfileError>| {
            matches!(
                result,
                Err(ProfileError::Bundle(BundleError::Damaged { .. }))
            )
        };
        assert!(damaged(profiles.manifest(&made[0]).map(drop)));
        assert!(damaged(profiles.switch(&a, &made[0])));
        assert!(damaged(profiles.activate(&a, "one").map(drop)));
        assert_eq!(profiles.active(&a).unwrap(), Some(made[1].clone()));
    });
}

#[test]
fn pruning_keeps_the_newest_the_active_and_the_protected() {
    each(|subject| {
        let profiles = subject.profiles();
        let a = agent("a");
        let made = deploy(profiles, "a", &["1", "2", "3", "4", "5", "6"]);
        profiles.switch(&a, &made[0]).unwrap();
        assert_eq!(profiles.prune(&a, 2, &[3, 99]).unwrap(), [2, 4]);
        assert_eq!(numbers(&profiles.list(&a).unwrap()), [1, 3, 5, 6]);
        assert!(profiles.prune(&a, 2, &[3]).unwrap().is_empty());
        subject.collect_garbage();
        assert!(profiles.manifest(&made[1]).is_err());
        assert_eq!(profiles.manifest(&made[2]).unwrap(), "3");
        assert_eq!(profiles.prune(&a, 0, &[]).unwrap(), [3, 5, 6]);
        assert_eq!(profiles.active(&a).unwrap(), Some(made[0].clone()));
        assert_eq!(profiles.manifest(&made[0]).unwrap(), "1");
    });
}

#[test]
fn preparing_changes_no_generation_and_gives_what_is_then_activated() {
    each(|subject| {
        let profiles = subject.profiles();
        let a = agent("a");
        let prepared = profiles.prepare(&a, "one", None).unwrap();
        assert_eq!(profiles.prepare(&a, "one", None).unwrap(), prepared);
        assert!(profiles.list(&a).unwrap().is_empty());
        let made = deploy(profiles, "a", &["one"]).remove(0);
        assert_eq!(made.store_path, prepared.into());
        profiles.check(&made).unwrap();
    });
}

#[test]
fn damage_is_the_answer_of_a_verification() {
    each(|subject| {
        let profiles = subject.profiles();
        let made = deploy(profiles, "a", &["one", "two"]);
        let watch = |_| ControlFlow::Continue(());
        let verified = profiles.verify(&made[0], &watch).unwrap();
        assert_eq!((verified.paths, verified.damage.len()), (1, 0));
        subject.damage(&made[0]);
        assert!(profiles.check(&made[0]).is_err());
        let verified = profiles.verify(&made[0], &watch).unwrap();
        assert_eq!(verified.damage.len(), 1);
        assert_eq!(verified.damage[0].path, *made[0].store_path);
        assert!(profiles.verify(&made[1], &watch).unwrap().damage.is_empty());
    });
}

#[test]
fn a_cancelled_verification_says_so() {
    each(|subject| {
        let made = deploy(subject.profiles(), "a", &["one"]).remove(0);
        let cancelled = subject
            .profiles()
            .verify(&made, &|_| ControlFlow::Break(()));
        assert!(matches!(
            cancelled,
            Err(ProfileError::Bundle(BundleError::Store(
                StoreError::Cancelled { .. }
            )))
        ));
    });
}

#[test]
fn a_bundle_stays_while_any_generation_refers_to_it() {
    each(|subject| {
        let profiles = subject.profiles();
        let made = deploy(profiles, "a", &["one", "two", "one"]);
        assert_eq!(profiles.prune(&agent("a"), 2, &[]).unwrap(), [1]);
        subject.collect_garbage();
        assert_eq!(profiles.manifest(&made[2]).unwrap(), "one");
    });
}

#[test]
fn a_removed_agent_begins_anew() {
    each(|subject| {
        let profiles = subject.profiles();
        let a = agent("a");
        let made = deploy(profiles, "a", &["one", "two"]);
        profiles.remove(&a).unwrap();
        profiles.remove(&a).unwrap();
        subject.collect_garbage();
        assert_eq!(profiles.active(&a).unwrap(), None);
        assert!(profiles.manifest(&made[1]).is_err());
        assert_eq!(numbers(&deploy(profiles, "a", &["two"])), [1]);
    });
}

#[test]
fn removal_leaves_no_file_behind() {
    let real = Real::new();
    deploy(&real.profiles, "a", &["one", "two"]);
    real.profiles.remove(&agent("a")).unwrap();
    for directory in ["state/profiles", "state/bundles"] {
        let left = real.dir.path().join(directory).read_dir().unwrap().count();
        assert_eq!(left, 0, "{directory}");
    }
}

#[test]
fn a_fault_of_the_fake_changes_nothing() {
    let fake = MemoryProfiles::new();
    let made = deploy(&fake, "a", &["one"]);
    fake.fail_next(1);
    let error = fake.activate(&agent("a"), "two").unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(fake.active(&agent("a")).unwrap(), Some(made[0].clone()));
    assert_eq!(numbers(&deploy(&fake, "a", &["two"])), [2]);
}
