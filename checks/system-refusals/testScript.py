# The way back is refused, breaks, or needs a reboot: each exit code of a switch is on record, and
# nothing is tried twice. And profiles are those of nix-env of this machine.
#
# The machine is that of checks/system. A switch is refused where /run/refuse is, and its activation
# fails if /run/middle does.

START_OVER = "rm -f /run/fail /run/refuse /run/middle"


def fail_back(name, *preparations):
    """Deploys a failing system, prepares the way back, has it fail; gives where that begins."""
    since = size()
    deploy_system(where[name])
    system_entry("OutsideAction", since)
    machine.succeed(*preparations, "touch /run/fail")
    return since


def demand_failed(since, code, words):
    """The way back failed with this code; it is said, and not tried again."""
    intent = system_entry("RollbackIntended", since)
    failed = system_entry("RollbackFailed", since)
    assert cause(failed) == intent["seq"] and failed["body"]["code"] == code, failed
    assert words in failed["body"]["message"] + " ".join(failed["body"]["output"]), failed


def demand_held(since):
    """Nothing more is done by itself, and that is said."""
    held = system_entry("EscalationExhausted", since)
    assert held["body"]["noRollback"] == "RolledBackAlready", held
    kill_osmoda()
    machine.succeed("osmoda wait steady --for Ready --timeout 2m")
    assert count("RollbackIntended", since) == 1


def start_over():
    """A person brings the good system back, and it is proven."""
    machine.succeed(START_OVER)
    since = size()
    deploy_system(good)
    demand_proven(good, since)


start_all()

with subtest("the system that was booted is proven"):
    machine.wait_for_unit("osmoda.service")
    where = places()
    good = where["base"]
    demand_proven(good, 0)

with subtest("a check before the switch says no: exit 1, and what ran goes on"):
    since = fail_back("failing-1", "touch /run/refuse")
    demand_failed(since, 1, "refuse")
    assert running_system() == where["failing-1"]
    demand_held(since)
    assert any("the next boot brings" in line for line in system_status()["disagreements"])
    start_over()

with subtest("activation fails in part: exit 2, and it helped all the same"):
    since = fail_back("failing-2", "echo 'exit 1' >/run/middle")
    demand_failed(since, 2, "activat")
    assert running_system() == good
    demand_proven(good, since)
    assert count("RollbackIntended", since) == 1
    machine.succeed(START_OVER)

with subtest("a reboot is needed: exit 100, and the next boot brings the good one"):
    # It is activated as a boot would: a switch to it needs a reboot as well.
    since = size()
    machine.succeed(
        f"nix-env --profile {PROFILE} --set {where['failing-6']}",
        f"{where['failing-6']}/activate >&2",
        "systemctl reload osmoda.service",
    )
    system_entry("OutsideAction", since)
    agent_entry("hopeless", "ActionSucceeded", since)
    machine.succeed("touch /run/fail")
    demand_failed(since, 100, "boot")
    assert running_system() == where["failing-6"] and next_system() == good
    demand_held(since)
    since = size()
    machine.succeed(START_OVER, f"{good}/activate >&2", "systemctl reload osmoda.service")
    demand_proven(good, since)

with subtest("a health check of the machine fails: it goes back, and that does not help"):
    # One whose probation lasts: what is proven already is not gone back from.
    since = size()
    deploy_system(where["failing-3"])
    system_entry("OutsideAction", since)
    machine.succeed("touch /run/ill")
    bad = system_entry("GenerationBad", since)
    assert bad["body"]["reason"] == "HealthCheckFailed", bad
    system_entry("RollbackSucceeded", since)
    assert running_system() == good
    demand_held(since)
    machine.succeed("rm /run/ill")

with subtest("profiles are those that this machine's nix-env makes"):
    machine.succeed("systemctl stop osmoda.service")
    told = machine.succeed("profile-like-nix-env --test-threads=1 2>&1", timeout=900)
    assert "3 passed" in told and "skipped" not in told, told
