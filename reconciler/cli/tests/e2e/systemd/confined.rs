//! What an agent in its unit may not do and see, and what it gets: sandbox, user, credentials, and
//! the ways to the daemon.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::json;

use super::{Host, condition};
use crate::support::{Agent, eventually};

const SECRET: &str = "correct-horse-battery-staple-4711";

/// Runs each command in an agent's shell and prints `NAME=CODE` for it.
fn trying(attempts: &[(&str, &str)]) -> String {
    let tries = attempts
        .iter()
        .map(|(name, command)| format!("({command}) >/dev/null 2>&1; echo {name}=$?; "));
    tries.collect::<String>() + "echo over; exec sleep 1000"
}

/// What came of them, by name.
#[track_caller]
fn outcome(said: &str, name: &str) -> i32 {
    let mut lines = said.lines();
    let code = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    code.unwrap_or_else(|| panic!("{name} was not tried: {said}"))
        .parse()
        .unwrap()
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn the_sandbox_is_there_by_default_and_off_where_it_is_switched_off() {
    let host = Host::new();
    let attempts = trying(&[
        ("etc", "touch /etc/osmoda-$OSMODA_AGENT"),
        ("usr", "touch /usr/osmoda-$OSMODA_AGENT"),
        ("own", "echo x > $HOME/x && test \"$(cat $HOME/x)\" = x"),
        ("tmp", "touch /tmp/osmoda-$OSMODA_AGENT"),
        ("root", "test $(id -u) = 0"),
        ("privileges", "grep -q '^NoNewPrivs:.*1' /proc/self/status"),
    ]);
    host.declare(&Agent::script("in", &attempts));
    host.declare(&Agent::script("out", &attempts).with("sandbox", json!("Off")));
    let _daemon = host.units();
    let said = host.said("in", "over");
    for (name, allowed) in [
        ("etc", false),
        ("usr", false),
        ("own", true),
        ("tmp", true),
        ("root", false),
        ("privileges", true),
    ] {
        assert_eq!(outcome(&said, name) == 0, allowed, "{name}: {said}");
    }
    assert!(!Path::new("/tmp/osmoda-in").exists(), "its /tmp is its own");
    assert_eq!(host.property("in", "DynamicUser"), "yes");
    let said = host.said("out", "over");
    for name in ["etc", "own", "root"] {
        assert_eq!(outcome(&said, name), 0, "{name}: {said}");
    }
    assert_ne!(outcome(&said, "privileges"), 0, "{said}");
    for place in ["/etc", "/usr", "/tmp"] {
        fs::remove_file(Path::new(place).join("osmoda-out")).unwrap();
    }

    let status = host.look("in").unwrap();
    assert_eq!(status["notEnforced"], json!([]));
    assert_eq!(condition(&status, "SpecValid")["reason"], "Valid");
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn a_credential_reaches_its_agent_alone() {
    let host = Host::new();
    let token = host.path().join("token");
    fs::write(&token, SECRET).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let has = "wc -c <$CREDENTIALS_DIRECTORY/key; echo ${#KEY}; echo $CREDENTIALS_DIRECTORY; \
               echo over; exec sleep 1000";
    let credential = json!({"key": {"path": token, "environmentVariable": "KEY"}});
    host.declare(&Agent::script("owner", has).with("credentials", credential.clone()));
    let daemon = host.units();
    let said = host.said("owner", "over");
    let lines: Vec<&str> = said.lines().collect();
    let length = SECRET.len().to_string();
    assert_eq!(
        lines[..2],
        [length.as_str(); 2],
        "in the file and in the variable"
    );
    let place = lines[2];

    let run = host.run_dir();
    let attempts = trying(&[
        ("credential", &format!("cat {place}/key")),
        ("source", &format!("cat {}", token.display())),
        (
            "environment",
            &format!("cat {0}/environment/* {0}/credentials/*/*", run.display()),
        ),
        ("proc", &format!("cat /proc/{}/environ", host.pid("owner"))),
    ]);
    host.declare(&Agent::script("thief", &attempts));
    let stolen = host.said("thief", "over");
    for name in ["credential", "source", "environment", "proc"] {
        assert_ne!(outcome(&stolen, name), 0, "{name}: {stolen}");
    }

    let shown = host.systemctl("show osmoda-owner.service");
    assert!(!shown.contains(SECRET), "no property of the unit has it");
    assert!(!host.osmoda("ledger export").out.contains(SECRET));
    assert!(!host.daemon_log().contains(SECRET));

    fs::remove_file(&token).unwrap();
    let late = Agent::script("late", "exec sleep 1000").with("credentials", credential);
    host.declare(&late);
    let status = host.until("late", "lacks its credential", |status| {
        status["phase"] == "Failed"
    });
    assert_eq!(condition(&status, "CredentialsReady")["status"], "False");
    fs::write(&token, "renewed").unwrap();
    host.pid("late");
    daemon.stops();
    assert!(!host.daemon_log().contains(SECRET));
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn from_inside_an_agent_no_verb_acts_and_no_ledger_is_read() {
    for sandbox in ["Default", "Off"] {
        let host = Host::new();
        host.declare(&Agent::script("victim", "exec sleep 1000"));
        let _daemon = host.units();
        let victim = host.pid("victim");
        let osmoda = host.binary_for_all().display().to_string();
        let flags = format!(
            "--state-dir {} --runtime-dir {}",
            host.state().display(),
            host.run_dir().display()
        );
        let verbs = [
            ("restart", "restart victim"),
            ("pause", "pause victim --reason mine"),
            ("pauseall", "pause --reason mine"),
            ("resume", "resume victim"),
            ("rollback", "rollback victim --to 1"),
            ("system", "rollback --system"),
            ("verify", "generations victim --verify"),
            ("rotate", "ledger key --rotate"),
        ];
        let mut attempts: Vec<(&str, String)> = verbs
            .iter()
            .map(|(name, words)| (*name, format!("{osmoda} {flags} {words}")))
            .collect();
        attempts.push((
            "hidden",
            format!("env -i setsid -w {osmoda} {flags} restart victim"),
        ));
        if sandbox == "Default" {
            let state = host.state();
            attempts.push(("ledger", format!("head -c 1 {}/ledger.db", state.display())));
            attempts.push((
                "wal",
                format!("head -c 1 {}/ledger.db-wal", state.display()),
            ));
            attempts.push(("key", format!("head -c 1 {}/ledger.key", state.display())));
        }
        let attempts: Vec<(&str, &str)> = attempts
            .iter()
            .map(|(name, command)| (*name, command.as_str()))
            .collect();
        let rogue = Agent::script("rogue", &trying(&attempts)).with("sandbox", json!(sandbox));
        host.declare(&rogue);
        let said = host.said("rogue", "over");
        for (name, _) in &attempts {
            assert_ne!(outcome(&said, name), 0, "{sandbox} {name}: {said}");
        }
        if sandbox == "Off" {
            assert_eq!(
                outcome(&said, "restart"),
                4,
                "refused, not out of reach: {said}"
            );
        }
        assert_eq!(host.pid("victim"), victim);
        assert_eq!(host.told("Paused", "victim"), []);
        host.verifies();
    }
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn an_agent_may_have_a_user_of_its_own_choice() {
    let host = Host::new();
    let script = "id -un; echo over; exec sleep 1000";
    host.declare(&Agent::script("a", script).with("user", json!("nobody")));
    let _daemon = host.units();
    assert!(host.said("a", "over").starts_with("nobody\n"));
    eventually("it is ready", || {
        (host.osmoda("status a").code == 0).then_some(())
    });
}
