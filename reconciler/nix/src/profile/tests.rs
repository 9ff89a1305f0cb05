//! The layout of links, and what is tolerated in the directory.

use std::fs::File;

use tempfile::TempDir;

use super::*;

struct Fixture {
    dir: TempDir,
    profile: Profile,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let profile = Profile::new(dir.path(), AgentName::new("a").unwrap());
        Self { dir, profile }
    }

    fn set(&self, target: &str) -> u64 {
        self.profile.set(Path::new(target)).unwrap().number
    }

    fn link(&self, name: &str, target: &str) {
        symlink(target, self.dir.path().join(name)).unwrap();
    }

    fn target(&self, name: &str) -> String {
        let target = fs::read_link(self.dir.path().join(name)).unwrap();
        target.to_str().unwrap().to_owned()
    }

    fn names(&self) -> Vec<String> {
        let mut names = file_names(self.dir.path()).unwrap();
        names.sort();
        names
    }

    fn active(&self) -> Option<u64> {
        self.profile.active().unwrap().map(|g| g.number)
    }

    fn numbers(&self) -> Vec<u64> {
        let list = self.profile.list().unwrap();
        list.into_iter().map(|g| g.number).collect()
    }
}

#[test]
fn links_are_laid_out_as_nix_does() {
    let f = Fixture::new();
    assert_eq!(f.active(), None);
    assert_eq!((f.set("/x"), f.set("/y")), (1, 2));
    assert_eq!(f.names(), ["a", "a-1-link", "a-2-link"]);
    assert_eq!(f.target("a"), "a-2-link");
    assert_eq!(f.target("a-1-link"), "/x");
    let expected = Generation {
        number: 2,
        store_path: "/y".into(),
    };
    assert_eq!(f.profile.active().unwrap(), Some(expected));
}

#[test]
fn the_highest_generation_is_used_again_and_no_other() {
    let f = Fixture::new();
    assert_eq!((f.set("/x"), f.set("/x")), (1, 1));
    assert_eq!((f.set("/y"), f.set("/x")), (2, 3));
    f.profile.switch_to(1, Path::new("/x")).unwrap();
    assert_eq!(f.set("/x"), 3);
    assert_eq!(f.active(), Some(3));
}

#[test]
fn a_switch_goes_only_to_what_was_recorded() {
    let f = Fixture::new();
    f.set("/x");
    f.set("/y");
    let changed = f.profile.switch_to(1, Path::new("/z")).unwrap_err();
    assert!(matches!(
        changed,
        ProfileError::TargetChanged { number: 1, .. }
    ));
    let absent = f.profile.switch_to(7, Path::new("/x")).unwrap_err();
    assert!(matches!(
        absent,
        ProfileError::NoSuchGeneration { number: 7, .. }
    ));
    assert_eq!(f.active(), Some(2));
    f.profile.switch_to(1, Path::new("/x")).unwrap();
    assert_eq!(f.target("a"), "a-1-link");
}

#[test]
fn the_active_generation_is_never_deleted() {
    let f = Fixture::new();
    for target in ["/x", "/y", "/z"] {
        f.set(target);
    }
    let error = f.profile.delete(&[1, 3]).unwrap_err();
    assert!(matches!(error, ProfileError::Active { number: 3, .. }));
    assert_eq!(f.numbers(), [1, 2, 3]);
    assert_eq!(f.profile.delete(&[2, 9, 1, 2]).unwrap(), [1, 2]);
    assert_eq!(f.numbers(), [3]);
}

#[test]
fn removal_leaves_nothing_of_the_profile_and_all_of_others() {
    let f = Fixture::new();
    f.set("/x");
    f.set("/y");
    f.link("a-x-link", "/foreign");
    f.link("a-b-1-link", "/other");
    f.profile.remove().unwrap();
    f.profile.remove().unwrap();
    assert_eq!(f.names(), ["a-b-1-link", "a-x-link"]);
}

#[test]
fn garbage_is_neither_listed_nor_touched() {
    let f = Fixture::new();
    for name in [
        "a-x-link",
        "a--link",
        "a-1-linkx",
        "a-1",
        "b-1-link",
        "a-b-2-link",
        "a-0-link",
        "a-007-link",
        "a-4294967296-link",
        "a-99999999999999999999999-link",
        "a-+3-link",
        ".a.tmp",
    ] {
        f.link(name, "/foreign");
    }
    File::create(f.dir.path().join("a-5-link")).unwrap();
    let before = f.names();
    assert!(f.numbers().is_empty());
    // 5 and 007 are in the way, as they are for Nix.
    assert_eq!(f.set("/x"), 8);
    assert_eq!(f.numbers(), [8]);
    f.profile.remove().unwrap();
    assert_eq!(f.names(), before);
}

#[test]
fn numbers_that_nix_cannot_hold_are_never_given() {
    let f = Fixture::new();
    f.link("a-4294967294-link", "/x");
    assert_eq!(f.set("/y"), NUMBER_MAX);
    let error = f.profile.set(Path::new("/z")).unwrap_err();
    assert!(matches!(error, ProfileError::NoNumber { .. }));
}

#[test]
fn a_link_that_dangles_or_points_elsewhere_is_no_active_generation() {
    let f = Fixture::new();
    for target in ["a-5-link", "/nix/store", "b-1-link", "/tmp/a-1-link"] {
        f.link("a", target);
        assert_eq!(f.active(), None, "{target}");
        fs::remove_file(f.profile.path()).unwrap();
    }
    f.link("a", "a-5-link");
    assert_eq!(f.set("/x"), 1);
    assert_eq!(f.active(), Some(1));
}

#[test]
fn what_is_not_a_link_is_not_replaced() {
    let f = Fixture::new();
    fs::write(f.profile.path(), "precious").unwrap();
    for result in [
        f.profile.set(Path::new("/x")).map(drop),
        f.profile.active().map(drop),
        f.profile.remove(),
    ] {
        assert!(matches!(result, Err(ProfileError::NotALink { .. })));
    }
    assert_eq!(fs::read_to_string(f.profile.path()).unwrap(), "precious");
}

#[test]
fn a_switch_that_a_crash_interrupted_does_not_stop_the_next() {
    let f = Fixture::new();
    f.link(".a.osmoda-new", "a-1-link");
    assert_eq!(f.set("/x"), 1);
    assert_eq!(f.names(), ["a", "a-1-link"]);
}

#[test]
fn a_target_is_absolute() {
    let f = Fixture::new();
    let error = f.profile.set(Path::new("x")).unwrap_err();
    assert!(matches!(error, ProfileError::BadTarget { .. }));
}

#[test]
fn profiles_are_found_by_their_links() {
    let f = Fixture::new();
    f.link("a", "a-1-link");
    f.link("b-1-link", "/only-a-generation");
    f.link("x-link", "x-link-3-link");
    f.link("Not-An-Agent", "/x");
    File::create(f.dir.path().join("file")).unwrap();
    let names = profiles_in(f.dir.path()).unwrap();
    let names: Vec<_> = names.iter().map(AgentName::as_str).collect();
    assert_eq!(names, ["a", "b", "x-link"]);
    assert!(
        profiles_in(&f.dir.path().join("absent"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn what_cannot_be_prepared_leaves_the_profile_as_it_was() {
    let f = Fixture::new();
    f.set("/x");
    f.set("/y");
    f.profile.switch_to(1, Path::new("/x")).unwrap();
    let refuse = |link: &Path| {
        assert!(link.is_symlink());
        Err(ProfileError::Locked {
            path: link.to_path_buf(),
        })
    };
    assert!(f.profile.set_after(Path::new("/z"), refuse).is_err());
    assert_eq!((f.numbers(), f.active()), (vec![1, 2], Some(1)));
    // The highest was there before, and stays.
    assert!(f.profile.set_after(Path::new("/y"), refuse).is_err());
    assert_eq!((f.numbers(), f.active()), (vec![1, 2], Some(1)));
}
