//! What only the inside can tell: that both ways to ask give one answer.

use super::*;

fn private() -> Option<(tempfile::TempDir, NixStore)> {
    let dir = tempfile::tempdir().unwrap();
    let store = NixStore::private(dir.path()).unwrap();
    std::fs::create_dir(dir.path().join("store")).unwrap();
    // Without Nix there is nothing to compare with.
    store.probe().is_ok().then_some((dir, store))
}

#[test]
fn the_database_and_nix_store_give_the_same_answer() {
    let Some((_dir, store)) = private() else {
        return;
    };
    let path = store.add_text("a.json", "{}", &BTreeSet::new()).unwrap();
    let shown = store.dir.show(&path);
    let from_database = Database::default()
        .look_up(&store.state_dir, &shown)
        .unwrap();
    let from_command = store.infos(std::slice::from_ref(&shown)).unwrap();
    assert_eq!(from_database, from_command.first().copied());
    assert!(from_database.is_some());

    let absent = shown.replace("a.json", "b.json");
    assert_eq!(
        Database::default()
            .look_up(&store.state_dir, &absent)
            .unwrap(),
        None
    );
    assert_eq!(store.invalid(&[shown, absent.clone()]).unwrap(), [absent]);
}

#[test]
fn without_a_database_nix_store_is_asked() {
    let Some((_dir, mut store)) = private() else {
        return;
    };
    let path = store.add_text("a.json", "{}", &BTreeSet::new()).unwrap();
    let known = store.info(&path).unwrap();
    // A URL: nothing that lies on this machine is believed.
    let root = store.state_dir.parent().unwrap().display().to_string();
    let url = format!("local?state={root}/state&real={root}/store&log={root}/log");
    store.environment.push(("NIX_REMOTE", url.into()));
    assert!(!store.is_local());
    assert_eq!(store.info(&path).unwrap(), known);
    assert!(known.is_some());
}

#[test]
fn a_layout_that_is_not_known_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("db")).unwrap();
    std::fs::write(dir.path().join("db/schema"), "11").unwrap();
    let error = Database::default()
        .look_up(dir.path(), "/nix/store/x")
        .unwrap_err();
    assert!(matches!(error, database::DatabaseError::OtherVersion(_)));
}

#[test]
fn an_expression_holds_the_text_and_its_references() {
    let expression = to_file("a.json", "${x}\"", &["/nix/store/y".to_owned()]);
    assert_eq!(
        expression,
        "builtins.toFile \"a.json\" (builtins.appendContext \"\\${x}\\\"\" \
         { \"/nix/store/y\" = { path = true; }; })"
    );
}
