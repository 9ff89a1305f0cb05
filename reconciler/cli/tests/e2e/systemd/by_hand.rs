//! What a person does to an agent's unit with systemctl: on record, no failure, and healed or
//! respected as the restart policy says.

use serde_json::json;

use super::Host;
use crate::support::{Agent, eventually};

fn with_policy(policy: &str) -> Agent {
    let restart = json!({"policy": policy});
    Agent::script("a", "exec sleep 1000").with("restart", restart)
}

/// The only outside action on record, and nothing of a failure.
#[track_caller]
fn only_outside(host: &Host, what: &str, respected: bool) {
    host.entry("it is on record", |e| e.is("OutsideAction", "a"));
    let outside = host.told("OutsideAction", "a");
    assert_eq!(outside.len(), 1, "{outside:?}");
    assert_eq!(outside[0].body()["what"], what);
    assert_eq!(outside[0].body()["ended"]["respected"], respected);
    assert_eq!(host.told("FailureDetected", "a"), []);
    assert_eq!(host.told("GenerationBad", "a"), []);
    assert_eq!(host.look("a").unwrap()["restarts"], 0);
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn an_agent_that_is_always_to_run_is_started_again_after_a_stop_and_after_a_kill() {
    for (command, what) in [("stop", "StoppedOutside"), ("kill", "KilledOutside")] {
        let host = Host::new();
        host.declare(&with_policy("Always"));
        let _daemon = host.units();
        let pid = host.pid("a");
        host.systemctl(&format!("{command} osmoda-a.service"));
        host.other_pid("a", pid);
        only_outside(&host, what, false);
        let events = host.osmoda("events a").out;
        assert!(events.contains(&format!("systemctl {command}")), "{events}");
        host.verifies();
    }
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn a_stop_is_respected_by_the_other_policies_until_somebody_asks_for_a_restart() {
    for policy in ["OnFailure", "Never"] {
        let host = Host::new();
        host.declare(&with_policy(policy));
        let _daemon = host.units();
        let pid = host.pid("a");
        host.systemctl("stop osmoda-a.service");
        let status = host.until("a", "stays down", |status| status["phase"] == "Succeeded");
        let message = status["message"].as_str().unwrap();
        assert!(message.contains("osmoda restart a"), "{message}");
        only_outside(&host, "StoppedOutside", true);
        assert_eq!(
            host.osmoda("status a --diff").code,
            0,
            "nothing is left to do"
        );
        host.osmoda("restart a --wait --timeout 40s").exits(0);
        host.other_pid("a", pid);
    }
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn a_kill_is_healed_on_failure_and_respected_by_never() {
    for (policy, respected) in [("OnFailure", false), ("Never", true)] {
        let host = Host::new();
        host.declare(&with_policy(policy));
        let _daemon = host.units();
        let pid = host.pid("a");
        host.systemctl("kill --signal=KILL osmoda-a.service");
        only_outside(&host, "KilledOutside", respected);
        match respected {
            true => drop(host.until("a", "stays down", |s| s["phase"] == "Succeeded")),
            false => assert_ne!(host.other_pid("a", pid), pid),
        }
    }
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn a_kill_that_an_agent_takes_its_time_to_obey_is_no_crash() {
    let obeys = "trap 'sleep 4; exit 3' TERM; while :; do sleep 1; done";
    let host = Host::new();
    host.declare(&Agent::script("a", obeys));
    let _daemon = host.units();
    host.pid("a");
    host.systemctl("kill osmoda-a.service");
    only_outside(&host, "KilledOutside", false);
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn what_osmoda_itself_stops_is_nobody_elses_doing() {
    let host = Host::new();
    host.declare(&with_policy("Always"));
    let _daemon = host.units();
    let pid = host.pid("a");
    host.osmoda("restart a --wait --timeout 40s").exits(0);
    host.other_pid("a", pid);
    host.withdraw("a");
    eventually("it is gone", || host.look("a").is_none().then_some(()));
    assert_eq!(host.told("OutsideAction", "a"), []);
    assert_eq!(host.told("FailureDetected", "a"), []);
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn what_an_agent_writes_into_the_journal_itself_excuses_nothing() {
    let forge = r#"
        run=$(systemctl show --property InvocationID --value osmoda-a.service)
        note='Sent signal SIGKILL to main process 53 (sh) on client request.'
        printf 'MESSAGE=%s\nINVOCATION_ID=%s\n' "$note" "${run:?}" | logger --journald || exit 7
        kill -9 $$"#;
    let host = Host::new();
    // Outside of the sandbox it learns how systemd calls its run.
    host.declare(&Agent::script("a", forge).with("sandbox", json!("Off")));
    let _daemon = host.units();
    let failure = host.entry("a crash is a crash", |e| e.is("FailureDetected", "a"));
    assert_eq!(failure.body()["exit"]["status"]["signal"], 9);
    assert_eq!(host.told("OutsideAction", "a"), []);
}
