//! `osmoda doctor`: an answer on any host, with a remedy for whatever is wrong.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Agent, Ran, Scene};

/// Its findings in one area at one level.
fn found<'a>(report: &'a Value, area: &str, level: &str) -> Vec<&'a str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["area"] == area && finding["level"] == level)
        .map(|finding| finding["message"].as_str().unwrap())
        .collect()
}

/// The exit code says whether something failed, and whatever is not well has a remedy.
#[track_caller]
fn report(ran: Ran) -> Value {
    let report = ran.json();
    let findings = report["findings"].as_array().unwrap();
    let failed = findings.iter().any(|finding| finding["level"] == "fail");
    assert_eq!(report["ok"], !failed);
    ran.exits(i32::from(failed));
    for finding in findings {
        let well = finding["level"] == "ok";
        assert_eq!(finding["remedy"] == "", well, "{finding}");
    }
    report
}

#[test]
fn every_area_is_looked_at_without_a_daemon_and_nothing_is_left_behind() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let report = report(scene.osmoda("doctor specs -o json"));
    for area in [
        "runtime",
        "cgroups",
        "kernel",
        "nix",
        "permissions",
        "disk",
        "clock",
        "limits",
        "ledger",
        "agents",
    ] {
        let findings = report["findings"].as_array().unwrap();
        assert!(
            findings.iter().any(|finding| finding["area"] == area),
            "{area}"
        );
    }
    assert_eq!(found(&report, "agents", "fail"), [""; 0]);
    assert!(!scene.state().exists() && !scene.run_dir().exists());
    let text = scene.osmoda("doctor specs");
    assert!(text.out.contains("\ncgroups:\n"), "{}", text.out);
}

#[test]
fn a_daemon_at_work_and_its_ledger_are_well() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let daemon = scene.daemon();
    scene.pid("a");
    let report = report(scene.osmoda("doctor specs -o json"));
    let at_work = format!("a daemon is at work: pid {}", daemon.pid());
    assert!(found(&report, "runtime", "ok").contains(&at_work.as_str()));
    assert_eq!(found(&report, "permissions", "fail"), [""; 0]);
    let ledger = found(&report, "ledger", "ok");
    assert!(
        ledger
            .iter()
            .any(|message| message.contains("hold together")),
        "{ledger:?}"
    );
    daemon.stops();
}

#[test]
fn what_is_wrong_is_a_failure_with_its_remedy() {
    let key = json!({"key": {"path": "/nonexistent/key"}});
    let scene = Scene::with(&[
        Agent::running("lost", &["/nonexistent/program"]),
        Agent::test("locked-out", "sleep").with("credentials", key),
    ]);
    scene.write_spec("broken.yaml", "kind: [\n");
    fs::create_dir_all(scene.state()).unwrap();
    fs::write(scene.state().join("ledger.db"), "no ledger").unwrap();
    let report = report(scene.osmoda("doctor specs -o json"));
    assert_eq!(report["ok"], false);
    let agents = found(&report, "agents", "fail").join("\n");
    for part in [
        "broken.yaml is not valid",
        "/nonexistent/program",
        "/nonexistent/key",
    ] {
        assert!(agents.contains(part), "{part} is not in:\n{agents}");
    }
    assert_eq!(found(&report, "ledger", "fail").len(), 1);
}

#[test]
fn a_host_on_which_everything_is_missing_is_no_panic() {
    let scene = Scene::new();
    let mut command = scene.command("doctor /nonexistent/specs -o json");
    command
        .env("PATH", "/nonexistent")
        .env("TMPDIR", "/nonexistent");
    command.env("OSMODA_STATE_DIR", "/etc/passwd/state");
    command.env("OSMODA_RUNTIME_DIR", "/etc/passwd/run");
    let report = report(Ran::from(command.output().unwrap()));
    assert_eq!(
        found(&report, "nix", "warn"),
        ["no nix on PATH: .nix specs cannot be read"]
    );
    assert_eq!(found(&report, "agents", "warn").len(), 1);
    assert!(!found(&report, "permissions", "fail").is_empty());
}
