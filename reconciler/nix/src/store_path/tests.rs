//! Which texts are store paths, and which store paths a text names.

use proptest::prelude::*;

use super::*;

const HASH: &str = "0c6kyc1dq7ba2k0gvfgg8bx9ic1s7gy2";

fn path(rest: &str) -> String {
    format!("{STORE_DIR}/{rest}")
}

#[test]
fn a_store_path_survives_its_text() {
    let text = path(&format!("{HASH}-researcher-1.2+a_b?c=d"));
    let parsed = StorePath::parse(&text).unwrap();
    assert_eq!(parsed.to_string(), text);
    assert_eq!(parsed.hash_part(), HASH);
    assert_eq!(parsed.name(), "researcher-1.2+a_b?c=d");
    assert_eq!(parsed.to_path(), PathBuf::from(text));
}

#[test]
fn what_is_not_a_store_path_is_refused() {
    let good = format!("{HASH}-x");
    let long = format!("{HASH}-{}", "x".repeat(212));
    for bad in [
        String::new(),
        good.clone(),
        format!("/nix/store{good}"),
        format!("/nix/store//{good}"),
        format!("/nix/store/../store/{good}"),
        format!("/nix/stores/{good}"),
        path(&format!("{good}/")),
        path(&format!("{good}/bin/x")),
        path(&format!("{good}/../{good}")),
        path(".."),
        path(""),
        path(HASH),
        path(&format!("{HASH}-")),
        path(&format!("{HASH}-.")),
        path(&format!("{HASH}-..")),
        path(&format!("{HASH}-.x")),
        path(&format!("{HASH}_x")),
        path(&format!("{HASH}-a b")),
        path(&format!("{HASH}-ä")),
        path(&format!("{HASH}-x\0")),
        path(&long),
        path(&good.to_uppercase()),
        // e, o, u and t are not digits of Nix' base 32.
        path("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-x"),
    ] {
        assert!(StorePath::parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn the_store_path_that_holds_a_file_is_found() {
    let inside = path(&format!("{HASH}-x/bin/run"));
    let expected = path(&format!("{HASH}-x"));
    assert_eq!(
        StorePath::containing(&inside).unwrap().to_string(),
        expected
    );
    assert_eq!(
        StorePath::containing(&expected).unwrap().to_string(),
        expected
    );
    for bad in [
        "/nix/store",
        "/nix/storeä/x",
        "/bin/sh",
        "",
        "/nix/store/x/../y",
    ] {
        assert!(StorePath::containing(bad).is_err(), "{bad}");
    }
    assert!(StorePath::containing(&format!("{inside}/../../..")).is_err());
}

#[test]
fn a_store_elsewhere_has_the_same_rules() {
    let store = StoreDir::new(Path::new("/elsewhere/store")).unwrap();
    let text = format!("/elsewhere/store/{HASH}-x");
    let parsed = store.parse(&text).unwrap();
    assert_eq!(store.show(&parsed), text);
    assert!(store.holds(Path::new(&text)));
    assert!(!store.holds(Path::new(&path(&format!("{HASH}-x")))));
    for bad in ["relative", "/", "/x/", ""] {
        assert_eq!(StoreDir::new(Path::new(bad)), None, "{bad}");
    }
}

#[test]
fn all_store_paths_of_a_text_are_found() {
    let other = "1c6kyc1dq7ba2k0gvfgg8bx9ic1s7gy2";
    let text = format!(
        "{{\"a\":\"/nix/store/{HASH}-x/bin/x\",\"b\":\"/nix/store/{other}-y-1.2:/nix/store/{HASH}-x\",\
         \"c\":\"/nix/store/{HASH}\",\"d\":\"/nix/store/../x and /nix/stores/{HASH}-z\"}}"
    );
    let found = StoreDir::default().mentioned(&text, |_| false);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [path(&format!("{HASH}-x")), path(&format!("{other}-y-1.2"))]
    );
}

#[test]
fn punctuation_after_a_path_is_no_part_of_it() {
    let store = StoreDir::default();
    let only = |text: &str, there: &str| {
        let found = store.mentioned(&path(text), |p| p == Path::new(&path(there)));
        found.first().map(|found| found.name().to_owned())
    };
    let name = |name: &str| format!("{HASH}-{name}");
    assert_eq!(
        only(&name("x-1.2?rev=3"), &name("x-1.2")).as_deref(),
        Some("x-1.2")
    );
    assert_eq!(
        only(&name("x-1.2"), &name("x-1.2")).as_deref(),
        Some("x-1.2")
    );
    // Nothing is there: the end of a sentence all the same is none of a name.
    assert_eq!(only(&name("x-1.2..."), "").as_deref(), Some("x-1.2"));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>(), tail in "[-./a-z0-9]{0,300}") {
        for candidate in [text.clone(), path(&text), path(&tail), path(&format!("{HASH}-{text}"))] {
            if let Ok(parsed) = StorePath::parse(&candidate) {
                prop_assert_eq!(parsed.to_string(), candidate.clone());
            }
            StoreDir::default().mentioned(&candidate, |_| false);
        }
    }
}
