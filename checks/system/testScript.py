# The machine's own generations: a good switch is proven, a bad one is gone back from, whatever
# somebody else does to the lock, to units, or to osmoda meanwhile.
#
# The machine boots the system `base`, whose specialisations are those of agents.nix. Those called
# failing bring an agent that fails for good once /run/fail is there, and asks for the system to go
# back. A switch does in its middle what /run/middle says.

start_all()

with subtest("the system that was booted is proven"):
    machine.wait_for_unit("osmoda.service")
    where = places()
    demand_proven(where["base"], 0)

with subtest("a good switch is noticed and proven"):
    since = size()
    deploy_system(where["second"])
    seen = system_entry("OutsideAction", since)
    assert seen["body"]["from"]["storePath"] == where["base"], seen
    demand_proven(where["second"], seen["seq"])
    machine.succeed("osmoda wait extra --for Ready --timeout 2m")
    shown = system_status()
    assert shown["lastKnownGood"]["storePath"] == where["second"], shown
    assert shown["verdict"] == "Good" and shown["booted"] == where["base"], shown
    assert shown["disagreements"] == ["switched since boot"], shown

with subtest("where profile and running system disagree, status says how"):
    machine.succeed(f"{where['quiet']}/bin/switch-to-configuration test >&2")
    told = system_status()["disagreements"]
    assert any("specialisation quiet of generation" in line for line in told), told
    machine.succeed(f"{where['base']}/bin/switch-to-configuration test >&2")
    told = system_status()["disagreements"]
    assert any("the next boot brings" in line for line in told), told
    assert not any("since boot" in line for line in told), told
    deploy_system(where["second"])
    assert system_status()["disagreements"] == ["switched since boot"]
    assert count("RollbackIntended") == 0

with subtest("from a bad switch the way back is intended, and waits for somebody else's lock"):
    since = size()
    deploy_system(where["failing-1"])
    system_entry("OutsideAction", since)
    machine.succeed(f"systemd-run --unit=holder flock {SWITCH_LOCK} sleep infinity")
    machine.wait_until_fails(f"flock --nonblock {SWITCH_LOCK} true")
    machine.succeed("touch /run/fail")
    intent = system_entry("RollbackIntended", since)
    bad = system_entry("GenerationBad", since)
    assert bad["body"]["reason"] == "AgentStuck" and cause(intent) == bad["seq"], intent
    assert running_system() == next_system() == where["failing-1"]

with subtest("osmoda is killed while it waits, then restarted by the very switch, which goes on"):
    kill_osmoda()
    retry(lambda _last: count("NodeStarted", since) == 1, 120)
    assert running_system() == next_system() == where["failing-1"]
    before = daemon_pid()
    machine.succeed(
        "printf '%s\\n' 'rm /run/middle' 'PATH=$PATH:/run/current-system/sw/bin'"
        " 'systemctl restart osmoda.service' >/run/middle",
        "systemctl stop holder.service",
    )
    done = system_entry("RollbackSucceeded", since)
    assert cause(done) == intent["seq"] and done["body"]["code"] == 0, done
    assert daemon_pid() != before and count("NodeStarted", since) == 2
    assert running_system() == next_system() == where["second"]
    proof = demand_proven(where["second"], done["seq"])
    assert proof["body"]["afterRollback"] is True, proof
    assert count("RollbackIntended", since) == 1
    machine.succeed("rm /run/fail", "osmoda wait --for Ready --timeout 2m")
    machine.fail("osmoda status hopeless")

with subtest("the lock is taken in between (exit 11), and somebody else's unit fails (exit 4)"):
    since = size()
    deploy_system(where["base"])
    demand_proven(where["base"], since)
    # The unit of the first try finds the lock taken, by somebody who soon gives it back.
    machine.succeed(
        "mkdir -p /run/systemd/system/osmoda-switch-.service.d",
        "printf '[Service]\\nExecStartPre=/bin/sh /run/take-lock\\n'"
        " >/run/systemd/system/osmoda-switch-.service.d/lock.conf",
        "printf '%s\\n' 'PATH=$PATH:/run/current-system/sw/bin:/usr/bin'"
        " '[ -e /run/taken ] && exit 0; touch /run/taken'"
        f" 'systemd-run --unit=taker flock {SWITCH_LOCK} sleep 8'"
        f" 'while flock --nonblock {SWITCH_LOCK} true; do sleep 0.1; done' >/run/take-lock",
        "systemctl daemon-reload",
    )
    since = size()
    deploy_system(where["failing-2"])
    system_entry("OutsideAction", since)
    machine.succeed("touch /run/break /run/fail")
    done = system_entry("RollbackSucceeded", since)
    assert done["body"]["code"] == 4 and "stranger.service" in done["body"]["note"], done
    units = machine.succeed(
        "journalctl --output=cat | grep -o 'osmoda-switch-[0-9a-f]*-[0-9]*.service' | sort -u"
    )
    assert any(unit.endswith("-2.service") for unit in units.split()), units
    demand_proven(where["base"], done["seq"])
    assert running_system() == next_system() == where["base"]
    assert count("RollbackIntended", since) == 1
    # The agent's own way back was spent, the machine's was not.
    spent = [entry["body"] for entry in entries() if entry["kind"] == "EscalationExhausted"]
    assert all(body.get("scope") != "System" for body in spent), spent
    machine.require_unit_state("stranger.service", "failed")

with subtest("the ledger tells all of this and verifies"):
    demand_whole_ledger()
    assert count("RollbackFailed") == 0
