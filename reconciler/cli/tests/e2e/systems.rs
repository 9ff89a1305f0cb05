//! Generations of the whole machine, below a root of the test's own: systems are directories with
//! a bin/switch-to-configuration, as NixOS' are; systemd-run and systemctl are stand-ins.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{Agent, Daemon, Entry, Scene, eventually, is_root};

/// Starts its arguments after `--` in a session of their own.
const SYSTEMD_RUN: &str = r#"#!/bin/sh
dir=$(dirname "$0")
for argument; do
    case "$argument" in --unit=*) unit=${argument#--unit=} ;; esac
done
while [ "$1" != -- ]; do shift; done
shift
mkdir -p "$dir/units"
setsid "$@" >/dev/null 2>&1 </dev/null &
echo $! > "$dir/units/$unit"
"#;

const SYSTEMCTL: &str = r#"#!/bin/sh
dir=$(dirname "$0")
for unit; do :; done
pid=$(cat "$dir/units/$unit" 2>/dev/null)
if [ -n "$pid" ] && grep -qs '^State:[[:space:]]*[^Z]' "/proc/$pid/status"; then
    echo active
else
    echo inactive
fi
"#;

/// Brings its own specs, does what the test wants in the middle, and exits with the next code.
const SWITCH: &str = r#"#!/bin/sh
[ "$1" = switch ] || exit 99
code=$(cat "ROOT/code" 2>/dev/null || echo 0)
echo "activating the configuration..."
case "$code" in 0|2|4)
    ln -sfn "SYSTEM" "ROOT/run/.new" && mv -T "ROOT/run/.new" "ROOT/run/current-system"
    rm -f SPECS/*.yaml; cp "SYSTEM"/agents/*.yaml SPECS/ ;;
esac
[ -e "ROOT/middle" ] && sh "ROOT/middle"
[ "$code" = 4 ] && echo "warning: the following units failed: nginx.service"
exit "$code"
"#;

struct Machine {
    scene: Scene,
}

impl Machine {
    /// That runs and booted generation 1, with an agent that is well.
    fn new() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let machine = Self {
            scene: Scene::new(),
        };
        for directory in ["root/nix/var/nix/profiles", "root/run", "bin"] {
            fs::create_dir_all(machine.path(directory)).unwrap();
        }
        program(&machine.path("bin/systemd-run"), SYSTEMD_RUN);
        program(&machine.path("bin/systemctl"), SYSTEMCTL);
        machine.install(1, &[Agent::test("a", "sleep")]);
        let first = machine.system(1);
        for link in ["current-system", "booted-system"] {
            symlink(&first, machine.path("root/run").join(link)).unwrap();
        }
        machine.bring(1);
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scene.path().join(name)
    }

    fn system(&self, number: u64) -> PathBuf {
        self.path(&format!("system-{number}"))
    }

    /// A new generation of the profile, and what the next boot brings.
    fn install(&self, number: u64, agents: &[Agent]) {
        let system = self.system(number);
        fs::create_dir_all(system.join("bin")).unwrap();
        fs::create_dir_all(system.join("agents")).unwrap();
        for agent in agents {
            let file = system.join("agents").join(format!("{}.yaml", agent.name()));
            fs::write(file, agent.manifest()).unwrap();
        }
        let script = SWITCH
            .replace("ROOT", self.path("root").to_str().unwrap())
            .replace("SYSTEM", system.to_str().unwrap())
            .replace("SPECS", self.scene.specs().to_str().unwrap());
        program(&system.join("bin/switch-to-configuration"), &script);
        let profiles = self.path("root/nix/var/nix/profiles");
        symlink(&system, profiles.join(format!("system-{number}-link"))).unwrap();
        let new = profiles.join("new");
        symlink(format!("system-{number}-link"), &new).unwrap();
        fs::rename(new, profiles.join("system")).unwrap();
    }

    /// A system's agents become the desired ones.
    fn bring(&self, number: u64) {
        for file in self.system(number).join("agents").read_dir().unwrap() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            self.scene
                .write_spec(&name, &fs::read_to_string(file.path()).unwrap());
        }
    }

    /// A person's `nixos-rebuild switch`.
    fn deploy(&self, number: u64, agents: &[Agent]) {
        self.install(number, agents);
        let switch = self.system(number).join("bin/switch-to-configuration");
        let status = Command::new(switch).arg("switch").status().unwrap();
        assert!(status.success());
    }

    fn daemon(&self) -> Daemon<'_> {
        let mut command = self.scene.run_command("");
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("OSMODA_SYSTEM_ROOT", self.path("root"));
        Daemon::start(&self.scene, command)
    }

    fn status(&self) -> Value {
        self.scene.json("status")["node"]["system"].clone()
    }

    fn is_good(&self, number: u64) -> Entry {
        self.scene.entry("the system is good", |e| {
            e.kind() == "GenerationGood"
                && e.body()["scope"] == "System"
                && e.body()["generation"]["number"] == number
        })
    }

    /// Waits for an entry about the system.
    fn entry(&self, kind: &str) -> Entry {
        self.scene
            .entry(kind, |e| e.kind() == kind && e.body()["scope"] == "System")
    }

    fn running(&self) -> PathBuf {
        fs::read_link(self.path("root/run/current-system")).unwrap()
    }

    fn next_boot(&self) -> PathBuf {
        fs::read_link(self.path("root/nix/var/nix/profiles/system")).unwrap()
    }
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// An agent that never comes up, has nothing to go back to, and takes the system along.
fn hopeless() -> Agent {
    Agent::test("b", "exit 3")
        .with(
            "restart",
            json!({"maxRestarts": 1, "backoff": {"initial": "10ms", "max": "1s"}}),
        )
        .with(
            "rollout",
            json!({"rollback": "System", "minReady": "300ms"}),
        )
}

fn well() -> Agent {
    Agent::test("a", "sleep")
}

#[test]
fn a_system_whose_agent_is_stuck_is_gone_back_from_and_the_old_one_is_verified() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let _daemon = machine.daemon();
    machine.is_good(1);
    machine.deploy(2, &[well(), hopeless()]);
    let bad = machine.entry("GenerationBad");
    assert_eq!(bad.body()["reason"], "AgentStuck");
    let intent = machine.entry("RollbackIntended");
    let done = machine.entry("RollbackSucceeded");
    assert_eq!(
        (done.body()["code"].clone(), done.cause()),
        (json!(0), Some(intent.seq))
    );
    assert_eq!(intent.cause(), Some(bad.seq));
    assert_eq!(machine.running(), machine.system(1));
    assert_eq!(machine.next_boot(), PathBuf::from("system-1-link"));
    machine.scene.entry("it helped", |e| {
        e.kind() == "GenerationGood" && e.body()["afterRollback"] == true
    });
    eventually("the agent is gone", || {
        machine.scene.look("b").is_none().then_some(())
    });
    let listed = machine.scene.osmoda("generations --system").exits(0);
    listed.telling(&["Bad (AgentStuck)", "active, desired, last known good"]);
    let status = machine.scene.osmoda("status").exits(0);
    status.telling(&["system generation 1 (Good), last known good generation 1"]);
    machine.scene.verifies();
}

#[test]
fn a_system_whose_health_check_fails_is_gone_back_from() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let healthy = machine.path("root/healthy");
    fs::write(&healthy, "").unwrap();
    let check = json!({"exec": {"command": ["/usr/bin/test", "-e", healthy]}, "period": "200ms"});
    let node = json!({
        "apiVersion": "osmoda/v1",
        "kind": "Node",
        "metadata": {"name": "machine"},
        "spec": {"healthChecks": {"disk": check}},
    });
    machine.scene.write_spec("node.json", &node.to_string());
    let _daemon = machine.daemon();
    machine.is_good(1);
    machine.deploy(2, &[well(), Agent::test("c", "sleep")]);
    fs::remove_file(&healthy).unwrap();
    let bad = machine.entry("GenerationBad");
    assert_eq!(bad.body()["reason"], "HealthCheckFailed");
    assert!(
        bad.body()["message"]
            .as_str()
            .unwrap()
            .starts_with("health check disk: ")
    );
    machine.entry("RollbackSucceeded");
    assert_eq!(machine.running(), machine.system(1));
    let held = machine.entry("EscalationExhausted");
    assert_eq!(
        held.body()["noRollback"],
        "RolledBackAlready",
        "it did not help"
    );
}

#[test]
fn a_switch_that_ends_the_daemon_is_found_done_by_the_next_one() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let daemon = machine.daemon();
    machine.is_good(1);
    let pid = daemon.pid();
    let middle = format!("kill -9 {pid}; sleep 1; rm -f $0\n");
    machine.deploy(2, &[well(), hopeless()]);
    fs::write(machine.path("root/middle"), middle).unwrap();
    eventually("the switch ends the daemon", || {
        (!crate::support::is_alive(pid)).then_some(())
    });
    drop(daemon);
    let _daemon = machine.daemon();
    let done = machine.entry("RollbackSucceeded");
    assert_eq!(done.cause(), Some(machine.entry("RollbackIntended").seq));
    assert_eq!(machine.running(), machine.system(1));
    let intents = machine.scene.entries();
    let intents = intents.iter().filter(|e| e.kind() == "RollbackIntended");
    assert_eq!(intents.count(), 1);
}

#[test]
fn a_switch_that_is_refused_is_on_record_with_its_code_and_not_tried_again() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let _daemon = machine.daemon();
    machine.is_good(1);
    machine.deploy(2, &[well(), hopeless()]);
    fs::write(machine.path("root/code"), "1\n").unwrap();
    let failed = machine.entry("RollbackFailed");
    assert_eq!(failed.body()["code"], 1);
    assert_eq!(
        failed.body()["output"][0],
        "activating the configuration..."
    );
    let held = machine.entry("EscalationExhausted");
    assert_eq!(held.body()["noRollback"], "RolledBackAlready");
    assert_eq!(machine.running(), machine.system(2));
    let disagreements = machine.status()["disagreements"].to_string();
    assert!(
        disagreements.contains("the next boot brings 1"),
        "{disagreements}"
    );
}

#[test]
fn an_operator_goes_back_and_forth_and_somebody_elses_failed_unit_is_only_noted() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let _daemon = machine.daemon();
    machine.is_good(1);
    let refused = machine.scene.osmoda("rollback --system").exits(2);
    refused.saying(&["no other generation that is known to be good"]);
    machine.deploy(2, &[well(), Agent::test("c", "sleep")]);
    machine.is_good(2);
    fs::write(machine.path("root/code"), "4\n").unwrap();
    machine
        .scene
        .osmoda("rollback --system --wait --timeout 40s")
        .exits(0);
    assert_eq!(machine.running(), machine.system(1));
    let done = machine.entry("RollbackSucceeded");
    assert_eq!(done.body()["code"], 4);
    assert!(
        done.body()["note"]
            .as_str()
            .unwrap()
            .contains("nginx.service")
    );
    let absent = machine.scene.osmoda("rollback --system --to 9").exits(2);
    absent.saying(&["the system has no generation 9"]);
}

#[test]
fn an_agent_that_does_not_escalate_leaves_the_system_alone() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let _daemon = machine.daemon();
    machine.is_good(1);
    let calm = hopeless().with("rollout", json!({"minReady": "300ms"}));
    machine.deploy(2, &[well(), calm]);
    machine
        .scene
        .entry("it is stuck", |e| e.is("EscalationExhausted", "b"));
    eventually("the change is seen", || {
        (machine.status()["verdict"] == "Unproven").then_some(())
    });
    assert_eq!(machine.status()["current"]["number"], 2);
    let about = machine.scene.entries();
    assert!(!about.iter().any(|e| e.kind() == "RollbackIntended"));
}

#[test]
fn without_nixos_there_is_nothing_to_show_or_roll_back() {
    let scene = Scene::with(&[well()]);
    let _daemon = scene.daemon();
    let refused = scene.osmoda("generations --system").exits(2);
    refused.saying(&["this is not NixOS", "osmoda generations AGENT"]);
    scene
        .osmoda("rollback --system")
        .exits(2)
        .saying(&["this is not NixOS"]);
}
