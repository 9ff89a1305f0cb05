//! Systems in a Nix store: hashed when they are proven and when somebody asks, and never gone
//! back to while they are damaged. The store is one of the test's own.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::support::{Daemon, Nix, is_root};

/// A system in the store that needs another store path.
fn build(nix: &Nix, name: &str) -> PathBuf {
    let part = nix.program(&format!("part-of-{name}"));
    let script = "/bin/mkdir -p $out/bin; echo $part > $out/part; \
                  echo '#!/bin/sh' > $out/bin/switch-to-configuration; \
                  /bin/chmod +x $out/bin/switch-to-configuration";
    let expression = format!(
        r#"derivation {{
          name = "{name}"; system = builtins.currentSystem; builder = "/bin/sh";
          args = [ "-c" "{script}" ]; part = builtins.storePath {};
        }}"#,
        part.display()
    );
    PathBuf::from(nix.run("nix-build", &["--no-out-link", "-E", &expression]))
}

fn install(nix: &Nix, number: u64, system: &Path) {
    let profiles = nix.root().join("root/nix/var/nix/profiles");
    fs::create_dir_all(&profiles).unwrap();
    fs::create_dir_all(nix.root().join("root/run")).unwrap();
    symlink(system, profiles.join(format!("system-{number}-link"))).unwrap();
    let replace = |target: &Path, link: PathBuf| {
        let new = nix.root().join("new");
        symlink(target, &new).unwrap();
        fs::rename(new, link).unwrap();
    };
    let name = format!("system-{number}-link");
    replace(Path::new(&name), profiles.join("system"));
    replace(system, nix.root().join("root/run/current-system"));
}

fn is_proven_and_whole(nix: &Nix, number: u64) {
    nix.scene.entry("it is proven and was hashed", |e| {
        let body = e.body();
        e.kind() == "ClosureVerified"
            && body["scope"] == "System"
            && body["reason"] == "Proven"
            && body["generation"]["number"] == number
            && body["damage"] == json!([])
    });
}

#[test]
fn a_damaged_system_is_reported_with_its_repair_and_not_gone_back_to() {
    let Some(nix) = Nix::new().filter(|_| is_root()) else {
        return;
    };
    let first = build(&nix, "first");
    install(&nix, 1, &first);
    let command = nix.scene.run_command("--bundles store");
    let mut command = nix.in_store(command, "");
    command.env("OSMODA_SYSTEM_ROOT", nix.root().join("root"));
    let _daemon = Daemon::start(&nix.scene, command);
    is_proven_and_whole(&nix, 1);
    install(&nix, 2, &build(&nix, "second"));
    is_proven_and_whole(&nix, 2);
    let whole = nix.scene.osmoda("generations --system --verify").exits(0);
    whole.telling(&[
        "generation 1 is whole (2 store paths",
        "generation 2 is whole",
    ]);

    let part = fs::read_to_string(first.join("part")).unwrap();
    let script = Path::new(part.trim()).join("bin/run");
    let text = fs::read(&script).unwrap();
    let spoil = |content: &[u8]| {
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&script, content).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o555)).unwrap();
    };
    spoil(b"#!/bin/sh\n");
    let damaged = nix.scene.osmoda("generations --system --verify").exits(1);
    let repair = format!("nix-store --repair-path {}", part.trim());
    damaged.telling(&["generation 1 is damaged", "was modified", &repair]);
    let refused = nix.scene.osmoda("rollback --system").exits(2);
    refused.saying(&["no other generation that is known to be good"]);
    let refused = nix.scene.osmoda("rollback --system --to 1").exits(2);
    refused.saying(&["generation 1 of the system is damaged", "--system --verify"]);
    spoil(&text);
    nix.scene.osmoda("generations --system --verify").exits(0);
    let listed = nix.scene.osmoda("generations --system").exits(0);
    listed.telling(&["Good"]);
    nix.scene.verifies();
}
