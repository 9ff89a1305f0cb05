//! What becomes of a bundle between its writing and its protection.

use std::{fs, os::unix::fs::symlink, process::Command};

use super::*;

#[test]
fn a_bundle_that_was_collected_before_it_was_protected_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let store = NixStore::private(root).unwrap();
    fs::create_dir(root.join("store")).unwrap();
    if store.probe().is_err() {
        return; // There is no Nix to try it with.
    }
    let bundles = Bundles::new(root.join("bundles"), Some(store));
    let agent = AgentName::new("a").unwrap();
    let path = bundles.write(&agent, "{}", None).unwrap();
    let link = root.join("a-1-link");
    symlink(&path, &link).unwrap();
    // As the collector does, whose roots were read before the link was there.
    let deleted = Command::new("nix-store")
        .env("HOME", root)
        .env("NIX_STORE_DIR", root.join("store"))
        .env("NIX_STATE_DIR", root.join("state"))
        .env("NIX_LOG_DIR", root.join("log"))
        .arg("--delete")
        .arg(&path)
        .output()
        .unwrap();
    assert!(deleted.status.success(), "{deleted:?}");
    assert!(bundles.check(&path).is_err());
    bundles.protect(&agent, "{}", &link, &path).unwrap();
    bundles.check(&path).unwrap();
}
