//! Bundles, roots and checks against a real Nix with a store of its own.

#![expect(clippy::unwrap_used, reason = "a fixture fails as its test does")]

mod support;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    ops::ControlFlow,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::{Path, PathBuf},
    sync::Mutex,
};

use osmoda_core::{name::AgentName, observed::Generation};
use osmoda_nix::{
    bundle::BundleError,
    profile::ProfileError,
    profiles::{Profiles, SymlinkProfiles},
    store::{Fault, Progress, StoreError, Verified},
};
use support::{PrivateNix, manifest};

/// A Nix of its own and profiles outside its state directory.
struct Fixture {
    nix: PrivateNix,
    profiles: SymlinkProfiles,
}

impl Fixture {
    fn new() -> Option<Self> {
        let nix = PrivateNix::new()?;
        let [profile_dir, bundle_dir] = ["agents", "bundles"].map(|d| nix.dir.path().join(d));
        let store = Some(nix.store.clone());
        let profiles = SymlinkProfiles::open(&profile_dir, &bundle_dir, store).unwrap();
        Some(Self { nix, profiles })
    }

    fn activate(&self, program: &Path) -> Generation {
        self.profiles.activate(&a(), &manifest(program)).unwrap()
    }

    fn verify(&self, generation: &Generation) -> Verified {
        let watch = |_| ControlFlow::Continue(());
        self.profiles.verify(generation, &watch).unwrap()
    }
}

fn a() -> AgentName {
    AgentName::new("a").unwrap()
}

fn place(generation: &Generation) -> PathBuf {
    generation.path().to_path_buf()
}

#[test]
fn a_bundle_refers_to_what_its_manifest_names() {
    let Some(f) = Fixture::new() else { return };
    let [one, two] = ["one", "two"].map(|name| f.nix.program(name));
    let text = format!(
        "{{\"command\":[\"{0}/bin/run\"],\"environment\":{{\"X\":\"a:{1}/x:{0}\"}}}}",
        one.display(),
        two.display()
    );
    let made = f.profiles.activate(&a(), &text).unwrap();
    assert_eq!(fs::read_to_string(place(&made)).unwrap(), text);
    assert_eq!(f.profiles.manifest(&made).unwrap(), text);
    let mut references = f
        .nix
        .nix_store(&["--query", "--references", &made.store_path]);
    references.sort();
    let mut expected = [one, two].map(|path| path.display().to_string());
    expected.sort();
    assert_eq!(references, expected);
    f.nix.nix_store(&["--verify-path", &made.store_path]);
}

#[test]
fn any_text_is_held_byte_for_byte() {
    let Some(f) = Fixture::new() else { return };
    for text in ["", "\r\n\t", "${x} \\ \" ''$$ ä\u{1}", "$\\{\r"] {
        let made = f.profiles.activate(&a(), text).unwrap();
        assert_eq!(fs::read(place(&made)).unwrap(), text.as_bytes(), "{text:?}");
    }
}

#[test]
fn a_generation_protects_all_that_its_agent_runs() {
    let Some(f) = Fixture::new() else { return };
    let [old, new, loose] = ["old", "new", "loose"].map(|name| f.nix.program(name));
    let made = [f.activate(&old), f.activate(&new)];
    f.nix.collect_garbage();
    assert!(!loose.exists());
    for generation in &made {
        assert!(place(generation).exists(), "{generation:?}");
        f.profiles.check(generation).unwrap();
    }
    assert!(old.join("bin/run").exists());

    assert_eq!(f.profiles.prune(&a(), 1, &[]).unwrap(), [1]);
    f.nix.collect_garbage();
    assert!(!old.exists());
    let gone = f.profiles.check(&made[0]).unwrap_err();
    assert!(matches!(
        gone,
        ProfileError::Bundle(BundleError::Store(StoreError::Invalid { .. }))
    ));
    f.profiles.check(&made[1]).unwrap();

    f.profiles.remove(&a()).unwrap();
    f.nix.collect_garbage();
    assert!(!new.exists());
}

#[test]
fn garbage_collected_between_preparing_and_activating_is_made_again() {
    let Some(f) = Fixture::new() else { return };
    let program = f.nix.program("one");
    let root = f.nix.dir.path().join("keep");
    let args = [
        "--realise",
        program.to_str().unwrap(),
        "--indirect",
        "--add-root",
    ];
    f.nix
        .nix_store(&[&args[..], &[root.to_str().unwrap()]].concat());
    let text = manifest(&program);
    let prepared = f.profiles.prepare(&a(), &text, None).unwrap();
    assert!(f.profiles.list(&a()).unwrap().is_empty());
    f.nix.collect_garbage();
    assert!(!Path::new(&prepared).exists());
    let made = f.profiles.activate(&a(), &text).unwrap();
    assert_eq!(made.store_path, prepared.into());
    f.profiles.check(&made).unwrap();
}

#[test]
fn what_cannot_be_fetched_is_named_and_nothing_is_activated() {
    let Some(f) = Fixture::new() else { return };
    let program = f.nix.program("one");
    f.nix.collect_garbage();
    let error = f.profiles.activate(&a(), &manifest(&program)).unwrap_err();
    let ProfileError::Bundle(BundleError::Store(StoreError::Unavailable { paths, .. })) = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(*paths, [program.display().to_string()]);
    assert!(error.is_retryable());
    assert_eq!(f.profiles.active(&a()).unwrap(), None);
    assert!(f.profiles.list(&a()).unwrap().is_empty());
}

#[test]
fn a_program_that_was_deleted_behind_nix_back_is_missed_before_the_start() {
    let Some(f) = Fixture::new() else { return };
    let program = f.nix.program("one");
    let made = [f.activate(&program), f.activate(&f.nix.program("two"))];
    fs::remove_dir_all(&program).unwrap();
    let error = f.profiles.switch(&a(), &made[0]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&format!("{} is missing", program.display())),
        "{text}"
    );
    assert!(text.contains("nix-store --repair-path"), "{text}");
    assert_eq!(f.profiles.active(&a()).unwrap(), Some(made[1].clone()));
}

#[test]
fn a_closure_that_is_whole_is_found_whole_and_progress_adds_up() {
    let Some(f) = Fixture::new() else { return };
    let made = f.activate(&f.nix.program("one"));
    let seen = Mutex::new(Vec::<Progress>::new());
    let watch = |progress| {
        seen.lock().unwrap().push(progress);
        ControlFlow::Continue(())
    };
    let verified = f.profiles.verify(&made, &watch).unwrap();
    assert_eq!((verified.paths, verified.damage.len()), (2, 0));
    let most = |of: fn(&Progress) -> u64| seen.lock().unwrap().iter().map(of).max().unwrap();
    assert_eq!(most(|p| p.paths), 2);
    assert_eq!(most(|p| p.bytes), most(|p| p.bytes_total));
    assert_eq!(verified.bytes, most(|p| p.bytes_total));
}

#[test]
fn a_closure_that_changed_is_reported_and_refused_until_it_is_whole() {
    let Some(f) = Fixture::new() else { return };
    let program = f.nix.program("one");
    let [bad, good] = [f.activate(&program), f.activate(&f.nix.program("two"))];
    let script = program.join("bin/run");
    let before = fs::read_to_string(&script).unwrap();
    f.nix.spoil(&script, "#!/bin/sh\nexit 1\n");
    let verified = f.verify(&bad);
    assert_eq!(verified.damage.len(), 1, "{verified:?}");
    let damage = &verified.damage[0];
    assert_eq!(damage.path, program.display().to_string());
    assert!(matches!(damage.fault, Fault::Modified { .. }));

    let refused = |result: Result<(), ProfileError>| {
        let kind = result.unwrap_err();
        matches!(
            kind,
            ProfileError::Bundle(BundleError::DamagedClosure { .. })
        )
    };
    assert!(refused(f.profiles.check(&bad)));
    assert!(refused(f.profiles.switch(&a(), &bad)));
    assert!(refused(
        f.profiles
            .prepare(&a(), &manifest(&program), None)
            .map(drop)
    ));
    assert!(refused(
        f.profiles.activate(&a(), &manifest(&program)).map(drop)
    ));
    assert_eq!(f.profiles.active(&a()).unwrap(), Some(good.clone()));
    assert!(f.verify(&good).damage.is_empty());

    fs::write(&script, before).unwrap();
    fs::set_permissions(&script, fs::metadata("/bin/sh").unwrap().permissions()).unwrap();
    assert!(f.verify(&bad).damage.is_empty());
    f.profiles.switch(&a(), &bad).unwrap();
}

#[test]
fn what_a_message_says_of_a_damaged_bundle_repairs_it() {
    let Some(f) = Fixture::new() else { return };
    let program = f.nix.program("one");
    let made = f.activate(&program);
    f.nix.spoil(&place(&made), "{}");
    let verified = f.verify(&made);
    let repair = &verified.damage[0].repair;
    let command = repair.split('`').nth(1).unwrap();
    let args: Vec<&str> = command.split(' ').skip(1).collect();
    f.nix.nix_store(&args);
    assert!(f.profiles.check(&made).is_err());
    assert_eq!(f.verify(&made).damage[0].fault, Fault::Invalid);
    assert_eq!(f.activate(&program), made);
    f.profiles.check(&made).unwrap();
    assert!(f.verify(&made).damage.is_empty());
}

#[test]
fn a_missing_path_of_a_closure_is_damage() {
    let Some(f) = Fixture::new() else { return };
    let program = f.nix.program("one");
    let made = f.activate(&program);
    fs::remove_dir_all(&program).unwrap();
    let verified = f.verify(&made);
    assert_eq!(verified.damage.len(), 1);
    assert_eq!(verified.damage[0].fault, Fault::Missing);
}

#[test]
fn a_verification_can_be_cancelled() {
    let Some(f) = Fixture::new() else { return };
    let made = f.activate(&f.nix.program("one"));
    let result = f.profiles.verify(&made, &|_| ControlFlow::Break(()));
    assert!(matches!(
        result,
        Err(ProfileError::Bundle(BundleError::Store(
            StoreError::Cancelled { .. }
        )))
    ));
    f.profiles.check(&made).unwrap();
}

#[test]
fn hashes_are_those_of_nix_for_every_kind_of_file() {
    let Some(f) = Fixture::new() else { return };
    let source = f.nix.dir.path().join("tree");
    fs::create_dir_all(source.join("empty")).unwrap();
    fs::create_dir_all(source.join("b/c")).unwrap();
    for (name, length) in [
        ("0", 0),
        ("7", 7),
        ("8", 8),
        ("b/large", 3 << 20),
        ("b.x", 9),
    ] {
        fs::write(source.join(name), vec![b'x'; length]).unwrap();
    }
    symlink("x".repeat(3000), source.join("b/c/long")).unwrap();
    symlink("/nowhere", source.join(format!("l{}", "o".repeat(250)))).unwrap();
    symlink("ä", source.join("ö")).unwrap();
    let utf8 = f.nix.add(&source);
    // What nix-nar cannot read; nix-store is asked.
    fs::write(source.join(OsStr::from_bytes(b"\xff")), "x").unwrap();
    let other = f.nix.add(&source);
    for path in [&utf8, &other] {
        let parsed = f.nix.store.dir().parse(path.to_str().unwrap()).unwrap();
        let watch = |_| ControlFlow::Continue(());
        let verified = f.nix.store.verify(&parsed, &watch).unwrap();
        assert!(verified.damage.is_empty(), "{verified:?}");
        f.nix.spoil(&path.join("8"), "changed");
        let verified = f.nix.store.verify(&parsed, &watch).unwrap();
        assert_eq!(verified.damage.len(), 1, "{path:?}");
    }
}

#[test]
fn a_text_is_named_as_nix_names_it() {
    let Some(f) = Fixture::new() else { return };
    let references: BTreeSet<_> = ["one", "two", "three"]
        .map(|name| f.nix.program(name))
        .iter()
        .map(|path| f.nix.store.dir().parse(path.to_str().unwrap()).unwrap())
        .collect();
    // The store refuses an answer of Nix that differs from what it computed.
    f.nix.store.add_text("x", "text", &references).unwrap();
}

#[test]
fn what_a_person_sets_with_nix_env_is_seen_and_checked() {
    let Some(f) = Fixture::new() else { return };
    let [one, two] = ["one", "two"].map(|name| f.nix.program(name));
    let made = [f.activate(&one), f.activate(&two)];
    let profile = f.nix.dir.path().join("agents/a");
    assert!(f.nix.env(&profile, &["--rollback"]).status.success());
    assert_eq!(f.profiles.active(&a()).unwrap(), Some(made[0].clone()));
    assert!(
        f.nix
            .env(&profile, &["--set", one.to_str().unwrap()])
            .status
            .success()
    );
    let theirs = f.profiles.active(&a()).unwrap().unwrap();
    assert_eq!(theirs.number, 3);
    assert!(f.profiles.manifest(&theirs).is_err());
}

#[test]
fn a_bundle_from_before_nix_came_stays_usable() {
    let Some(nix) = PrivateNix::new() else { return };
    let [profile_dir, bundle_dir] = ["agents", "bundles"].map(|d| nix.dir.path().join(d));
    let before = SymlinkProfiles::new(&profile_dir, &bundle_dir).unwrap();
    let old = before.activate(&a(), "{}").unwrap();
    let store = Some(nix.store.clone());
    let after = SymlinkProfiles::open(&profile_dir, &bundle_dir, store).unwrap();
    let new = after.activate(&a(), "{}").unwrap();
    assert_eq!((old.number, new.number), (1, 2));
    after.switch(&a(), &old).unwrap();
    assert_eq!(after.manifest(&old).unwrap(), "{}");
    let without = before.switch(&a(), &new);
    assert!(without.is_err());
}
